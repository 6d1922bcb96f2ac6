#!/usr/bin/python
"""Ansible module: what workspaces there are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_info
short_description: List the workspaces of the installation
version_added: "0.1.0"
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, docker]
description:
  - Returns database rows with the present status from Docker. Changes nothing.
options:
  name:
    description: Only the workspace of this name.
    type: str
  id:
    description: Only the workspace with this id.
    type: str
  group:
    description: Only the workspaces of this group.
    type: str
  cloned_from:
    description: Only the clones of the workspace with this id.
    type: str
  node:
    description: Only the workspaces of this machine, by its name in the inventory; the controller's is C(controller).
    type: str
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: Who is in the spring school
  workspace_info:
    site: "{{ atelier_site }}"
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

from typing import Any

from ansible.module_utils.atelier.ansible_module import run_with_context
from ansible.module_utils.atelier.containers.context import Context
from ansible.module_utils.atelier.workspaces.listing import list_workspaces
from ansible.module_utils.basic import AnsibleModule

_FILTERS = ("name", "id", "group", "cloned_from", "node")


def main() -> None:
    run_with_context(DOCUMENTATION, _list)


def _list(module: AnsibleModule, context: Context) -> dict[str, Any]:
    wanted = {name: module.params[name] for name in _FILTERS if module.params[name] is not None}
    return {"changed": False, "workspaces": list_workspaces(context, **wanted)}


if __name__ == "__main__":
    main()
