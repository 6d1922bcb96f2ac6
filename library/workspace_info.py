#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_info
short_description: List the workspaces of the installation
version_added: "0.1.0"
description:
  - Returns database rows with the present status from Docker, all of them or those that match everything given.
    Changes nothing.
options:
  group:
    description: Only the workspaces of this group.
    type: str
  cloned_from:
    description: Only the clones of the workspace with this id.
    type: str
  node:
    description: Only the workspaces of this machine, by its name in the inventory; the controller's is C(controller).
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.check]
"""

EXAMPLES = r"""
- name: Who is in the spring school
  workspace_info:
    group: spring-school
  register: seats
"""

RETURN = r"""
workspaces:
  description: The workspaces, oldest first, each as the workspace module returns it. One whose container is gone has
    the status V(error) and says so in C(error).
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.workspaces.views import list_workspaces


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    return {"changed": False, "workspaces": list_workspaces(context, **own_options(module))}


if __name__ == "__main__":
    main()
