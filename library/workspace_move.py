#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_move
short_description: Move a workspace to another machine
version_added: "0.2.0"
description:
  - The workspace keeps its id, address, password, claim, aliases, branch and files. It is stopped while its files
    travel, and runs afterwards if it ran before. Programs that ran in it end.
  - With O(origin=checkpoint), workspaces of a machine that is lost begin on other machines from their last checkpoints
    in the image registry; what was changed since then is lost. It is refused while the machine answers.
  - Safe to run again after an interruption.
options:
  to:
    description: The machine's name in the inventory; by default the one with most free memory.
    type: str
  origin:
    description:
      - Where the files come from. V(machine) is the machine that the workspace is on.
      - V(checkpoint_or_base) also begins workspaces without a checkpoint, from their base or template.
    type: str
    choices: [machine, checkpoint, checkpoint_or_base]
    default: machine
  group:
    description: Not one workspace but those of this group whose machines do not answer. Not with O(origin=machine).
    type: str
  node:
    description: Not one workspace but all of this machine (and group). Not with O(origin=machine).
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.check]
"""

EXAMPLES = r"""
- name: Make room on this machine
  workspace_move:
    name: Workshop 3
    to: beta

- name: The machine is lost
  workspace_move:
    node: alpha
    origin: checkpoint
"""

RETURN = r"""
workspace:
  description: The workspace after the move.
  returned: with O(origin=machine)
  type: dict
seats:
  description:
    - What became of each workspace, with C(id), C(name), C(node) (where it is now) and C(error).
    - C(origin) is what it began from, as M(workspace_reset) has it; C(checkpoint) is when that was taken, C(age) its
      seconds, and C(lost) a sentence on what was lost.
  returned: without O(origin=machine)
  type: list
  elements: dict
failed_seats:
  description: The ids of those that stayed as they were.
  returned: without O(origin=machine)
  type: list
  elements: str
"""

from ansible.module_utils.atelier.ansible_module import (
    AnsibleModule,
    Context,
    Result,
    own_options,
    seats_result,
    with_context,
)
from ansible.module_utils.atelier.common.errors import invalid
from ansible.module_utils.atelier.workspaces.lost_machine import begin_elsewhere
from ansible.module_utils.atelier.workspaces.move import move

_SEVERAL = ("group", "node")


@with_context(
    DOCUMENTATION,
    required_one_of=[("id", "name", *_SEVERAL)],
    mutually_exclusive=[(one, several) for one in ("id", "name") for several in _SEVERAL],
)
def main(module: AnsibleModule, context: Context) -> Result:
    wanted = own_options(module)
    origin = wanted.pop("origin")
    if origin != "machine":
        or_base = origin == "checkpoint_or_base"
        return seats_result(begin_elsewhere(context, **wanted, or_base=or_base, check_mode=module.check_mode), "origin")
    if several := next((name for name in _SEVERAL if wanted[name]), None):
        raise invalid("lost_machines_only", several)
    return move(context, id=wanted["id"], name=wanted["name"], to=wanted["to"], check_mode=module.check_mode).view()


if __name__ == "__main__":
    main()
