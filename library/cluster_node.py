#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Let a machine take workspaces, empty or remove it
version_added: "0.2.0"
description:
  - Sets the machine's availability in the Docker Swarm. A paused machine takes no new workspaces; those it has go on.
  - A drained one is paused, and its workspaces are moved to the others, one after the other. One that can't be moved
    stays where it is; C(failed_seats) names it, and another run moves it.
  - An absent one is not part of the Docker Swarm. One that has workspaces is not removed.
options:
  name:
    description: The machine's name in the inventory; the controller's is C(controller).
    type: str
    required: true
  state:
    description: What is wanted of the machine.
    type: str
    choices: [active, paused, drained, absent]
    required: true
  force:
    description:
      - With O(state=absent), remove a machine that does not answer although it has workspaces. They become C(error),
        and can still begin elsewhere from a checkpoint (M(workspace_move)).
    type: bool
    default: false
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: The machine is to be updated
  cluster_node:
    name: alpha
    state: drained

- name: The machine is lost
  cluster_node:
    name: alpha
    state: absent
    force: true
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
answers:
  description: Whether the removed machine answers, so that its Docker can leave the Swarm.
  returned: with O(state=absent)
  type: bool
"""

from dataclasses import asdict

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, with_context
from ansible.module_utils.atelier.workspaces.lost_machine import remove_machine
from ansible.module_utils.atelier.workspaces.move import MovedSeat, drain, set_availability


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    name, state = module.params["name"], module.params["state"]
    seats: list[MovedSeat] = []
    if state == "drained":
        changed, seats = drain(context, name, check_mode=module.check_mode)
    elif state == "absent":
        force = module.params["force"]
        changed, answers = remove_machine(context, name, force=force, check_mode=module.check_mode)
        return {"changed": changed, "answers": answers, "seats": [], "failed_seats": []}
    else:
        changed = set_availability(context, name, state, check_mode=module.check_mode)
    failed = [seat.id for seat in seats if seat.error is not None]
    return {"changed": changed, "seats": [asdict(seat) for seat in seats], "failed_seats": failed}


if __name__ == "__main__":
    main()
