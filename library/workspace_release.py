#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_release
short_description: End all sessions and processes of a workshop seat, for its next participant
version_added: "0.2.0"
description:
  - The seat's container is restarted from outside, so no process, listener or session of the former participant
    remains. Session cookies become invalid, even if the password stays.
  - With O(files=reset) the seat is reset as by the M(workspace_reset) module, but not to a checkpoint that was taken
    after the seat's first claim.
  - A seat whose release fails is in state V(error) and cannot be claimed. Repeat the release, or start the seat.
options:
  password_hash:
    description: The argon2id hash of the new password. If omitted, the password stays.
    type: str
  files:
    description: V(keep) does not change the files. V(reset) keeps the old container for O(keep_hours).
    type: str
    choices: [keep, reset]
    default: keep
  run_id:
    description: An id chosen by the caller, lower-case letters and digits. A second run with it does not reset again.
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.keep_hours, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: Free the seat for the next participant
  workspace_release:
    name: Workshop 7
    password_hash: "{{ vault_hash }}"
    files: reset
"""

RETURN = r"""
workspace:
  description: The seat as it is now, as the workspace module returns it.
  returned: success
  type: dict
origin:
  description: V(files) if the files stayed, otherwise the origin of the reset, as in the M(workspace_reset) module.
  returned: success
  type: str
  sample: base
kept:
  description: Name of the old container, if the files were reset.
  returned: success
  type: str
  sample: atelier-3f1c9a0b77de-kept-20261124t093000000000z
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.workshop.release import release


@with_context(DOCUMENTATION, required_one_of=[("name", "id")])
def main(module: AnsibleModule, context: Context) -> Result:
    return release(context, **own_options(module), check_mode=module.check_mode).view()


if __name__ == "__main__":
    main()
