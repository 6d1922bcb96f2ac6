#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_passwords
short_description: Change the passwords of several workspaces at once
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - Sets the password hash of each workspace, in parallel. Running containers are restarted, which ends all their
    sessions and processes.
  - Workspaces fail independently, with the reason in RV(seats).
options:
  hashes:
    description: The argon2id hashes of the passwords, by workspace id.
    type: dict
    required: true
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: Passwords for those who just came
  workspace_passwords:
    hashes: "{{ vault_hashes_by_id }}"
"""

RETURN = r"""
seats:
  description: The result of each workspace, in the order given.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 3f1c9a0b77de
      changed: true
      error: null
      error_code: null
      details: null
failed_seats:
  description: Ids of the workspaces whose password could not be set.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, seats_result, with_context
from ansible.module_utils.atelier.workspaces.side_by_side import set_passwords


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    set_now = set_passwords(context, module.params["hashes"], check_mode=module.check_mode)
    return seats_result(set_now, "changed")


if __name__ == "__main__":
    main()
