#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_restore
short_description: Restore a backup of the installation
version_added: "0.2.0"
description:
  - Needs the program restic.
  - The steps of a restore, which the playbook C(restore) runs in their order. Each can be repeated.
  - V(fetched) reads the whole backup into a folder beside the state folder and checks it; nothing else is changed.
  - V(placed) puts the files into the state folder. The platform must not run.
  - V(present) creates the containers of all workspaces. The platform must have been set up meanwhile.
options:
  state:
    description: The step.
    type: str
    choices: [fetched, placed, present]
    required: true
  repository:
    description: The repository as restic takes it. Required unless O(state) is V(placed).
    type: str
  key_file:
    description: The file with the repository's password. Only root may read it. Required unless O(state) is V(placed).
    type: path
  environment_file:
    description: The file with the storage's credentials as C(NAME=value) lines. Only root may read it.
    type: path
  snapshot:
    description: The id of the backup, or its beginning. By default the newest is restored.
    type: str
  replace:
    description: Whether an installation that has workspaces is deleted for the backup's.
    type: bool
    default: false
extends_documentation_fragment: [atelier, atelier.no_check]
"""

EXAMPLES = r"""
- name: Read and check the newest backup
  backup_restore:
    state: fetched
    repository: /srv/backup
    key_file: /etc/atelier/backup.password
"""

RETURN = r"""
snapshot:
  description: The id of the backup.
  returned: state is fetched
  type: str
taken_at:
  description: When it was made.
  returned: state is fetched
  type: str
workspaces:
  description: How many workspaces it has.
  returned: state is fetched or present
  type: int
replaces:
  description: Whether there is an installation that must be removed first.
  returned: state is fetched
  type: bool
ids:
  description: Ids of the workspaces that should run.
  returned: state is present
  type: list
  elements: str
missing:
  description:
    - Names of the workspaces whose files are not in the backup, or could not be restored. Their errors say why.
  returned: state is present
  type: list
  elements: str
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site, progress_reporter
from ansible.module_utils.atelier.backup.restic import source_of
from ansible.module_utils.atelier.backup.restore import fetch_backup, place_backup, restore_seats
from ansible.module_utils.atelier.containers.context import open_context
from ansible.module_utils.atelier.host.installation import newer_version

_NEEDED = ("repository", "key_file")


@as_module(DOCUMENTATION, required_if=[("state", state, _NEEDED) for state in ("fetched", "present")])
def main(module: AnsibleModule) -> Result:
    given, progress = module.params, progress_reporter()
    site = parse_site(given["site"])
    if given["state"] == "placed":
        place_backup(site)
        return {"changed": True}
    source = source_of(given)
    if given["state"] == "fetched":
        fetched = fetch_backup(site, source, given["snapshot"], progress, newer_version, replace=given["replace"])
        return {"changed": False, **fetched}
    with open_context(site, ready_timeout=given["ready_timeout"], progress=progress) as context:
        return {"changed": True, **restore_seats(context, source)}


if __name__ == "__main__":
    main()
