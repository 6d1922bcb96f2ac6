#!/usr/bin/python
"""Ansible module: whether a machine takes workspaces, and emptying it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Let a machine take workspaces, or empty it
version_added: "0.2.0"
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, docker]
description:
  - Sets the machine's availability in the Docker Swarm. A paused machine takes no new workspaces; those it has go on.
  - A drained one is paused, and its workspaces are moved to the others, one after the other. One that can't be moved
    stays where it is; C(failed_seats) names it, and another run moves it.
options:
  name:
    description: The machine's name in the inventory; the controller's is C(controller).
    type: str
    required: true
  state:
    description: What is wanted of the machine.
    type: str
    choices: [active, paused, drained]
    required: true
  ready_timeout:
    description: Seconds that a moved IDE may take until it answers.
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: The machine is to be updated
  cluster_node:
    site: "{{ atelier_site }}"
    name: alpha
    state: drained
"""

RETURN = r"""
seats:
  description: The workspaces of a drained machine, each with C(id), C(name), C(node) (where it is now) and C(error).
  returned: success
  type: list
  elements: dict
failed_seats:
  description: The ids of those that stayed.
  returned: success
  type: list
  elements: str
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.atelier.ansible_module import run_with_context
from ansible.module_utils.atelier.containers.context import Context
from ansible.module_utils.atelier.workspaces.move import MovedSeat, drain, set_availability
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    run_with_context(DOCUMENTATION, _apply)


def _apply(module: AnsibleModule, context: Context) -> dict[str, Any]:
    name, state = module.params["name"], module.params["state"]
    seats: list[MovedSeat] = []
    if state == "drained":
        changed, seats = drain(context, name, check_mode=module.check_mode)
    else:
        changed = set_availability(context, name, state, check_mode=module.check_mode)
    failed = [seat.id for seat in seats if seat.error is not None]
    return {"changed": changed, "seats": [asdict(seat) for seat in seats], "failed_seats": failed}


if __name__ == "__main__":
    main()
