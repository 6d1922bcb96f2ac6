#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_revive
short_description: Start workspaces that should run but do not
version_added: "0.2.0"
requirements: [argon2-cffi]
description:
  - After a crash, Docker marks the containers that it stopped as manually stopped. This module restarts them, in
    parallel.
  - A workspace that was stopped on purpose stays stopped. Workspaces fail independently, with the reason in RV(seats).
options:
  ids:
    description: Ids of the workspaces.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [atelier, atelier.no_check]
"""

EXAMPLES = r"""
- name: Start what should run
  workspace_revive:
    ids: [3f1c9a0b77de]
"""

RETURN = r"""
seats:
  description: The result of each workspace, in the order given.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 3f1c9a0b77de
      started: true
      error: null
failed_seats:
  description: Ids of the workspaces that could not be started.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, seats_result, with_context
from ansible.module_utils.atelier.workspaces.side_by_side import revive


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    return seats_result(revive(context, module.params["ids"]), "started")


if __name__ == "__main__":
    main()
