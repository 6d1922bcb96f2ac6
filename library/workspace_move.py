#!/usr/bin/python
"""Ansible module: moves one workspace to another machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_move
short_description: Move a workspace to another machine
version_added: "0.2.0"
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, docker]
description:
  - The workspace keeps its id, address, password, claim, aliases, branch and files. It is stopped while its files
    travel, and runs afterwards if it ran before. Programs that ran in it end.
  - Safe to run again after an interruption.
options:
  to:
    description: The machine's name in the inventory; by default the one with most free memory.
    type: str
  ready_timeout:
    description: Seconds that the IDE may take until it answers.
extends_documentation_fragment: [atelier, atelier.workspace, atelier.check]
"""

EXAMPLES = r"""
- name: Make room on this machine
  workspace_move:
    site: "{{ atelier_site }}"
    name: Workshop 3
    to: beta
"""

RETURN = r"""
workspace:
  description: The workspace after the move.
  returned: success
  type: dict
"""

from typing import Any

from ansible.module_utils.atelier.ansible_module import own_options, run_with_context
from ansible.module_utils.atelier.containers.context import Context
from ansible.module_utils.atelier.workspaces.move import move
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    run_with_context(DOCUMENTATION, _move, required_one_of=[("name", "id")])


def _move(module: AnsibleModule, context: Context) -> dict[str, Any]:
    moved = move(context, **own_options(module), check_mode=module.check_mode)
    return {
        "changed": moved.changed,
        "diff": {"before": moved.before, "after": moved.after},
        "workspace": moved.after,
    }


if __name__ == "__main__":
    main()
