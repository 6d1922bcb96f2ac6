#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Back up the installation with restic
version_added: "0.2.0"
description:
  - Needs the program restic.
  - Saves the state folder and the files of all workspaces to a restic repository, while people work. Each running
    workspace is paused for less than a second.
  - A workspace that cannot be saved, or a machine that does not answer, does not keep the others from it; the module
    fails in the end and names it.
options:
  repository:
    description:
      - The repository as restic takes it, such as V(/srv/backup), V(sftp:backup@host:/srv/atelier) or
        V(s3:https://s3.example.org/bucket).
    type: str
    required: true
  key_file:
    description: The file with the repository's password. Only root may read it.
    type: path
    required: true
  environment_file:
    description: The file with the storage's credentials as C(NAME=value) lines. Only root may read it.
    type: path
  keep:
    description:
      - The backups to keep, by C(last), C(hourly), C(daily), C(weekly), C(monthly) and C(yearly), as the options of
        C(restic forget). Without rules all are kept.
      - The last backup that has a workspace which the newest one lacks is kept, too.
    type: dict
    default: {}
  create:
    description: Whether the repository is created if there is none.
    type: bool
    default: true
extends_documentation_fragment: [atelier, atelier.no_check]
"""

EXAMPLES = r"""
- name: Back up to another disk
  backup:
    repository: /srv/backup
    key_file: /etc/atelier/backup.password
    keep: {daily: 7, weekly: 5}
"""

RETURN = r"""
snapshot:
  description: The id by which the backup is restored.
  returned: success
  type: str
workspaces:
  description: How many workspaces it has.
  returned: success
  type: int
created:
  description: Whether the repository was created.
  returned: success
  type: bool
forgotten:
  description: How many old backups were forgotten.
  returned: success
  type: int
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site, progress_reporter
from ansible.module_utils.atelier.backup.create import back_up, failures_noted
from ansible.module_utils.atelier.backup.restic import source_of
from ansible.module_utils.atelier.containers.context import open_context


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    given = module.params
    site, timeout, progress = parse_site(given["site"]), given["ready_timeout"], progress_reporter()
    # Also when Docker does not answer.
    with failures_noted(site.state_dir), open_context(site, ready_timeout=timeout, progress=progress) as context:
        outcome = back_up(context, source_of(given), keep=given["keep"], create=given["create"])
    return {"changed": True, **outcome}


if __name__ == "__main__":
    main()
