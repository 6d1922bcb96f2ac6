#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_checkpoint
short_description: Take a checkpoint of a workspace, for later resets
version_added: "0.1.0"
description:
  - A checkpoint is an image of the workspace's present files. The workspace is paused for a moment.
  - Secrets in well-known locations (passwords, git credentials, keys, shell history, tokens) are excluded.
  - Five are kept per workspace; a sixth replaces the oldest.
options:
  run_id:
    description:
      - An id chosen by the caller, 1 to 32 lower-case letters and digits. A second run with the same id takes no
        other checkpoint. V(scheduled) is for checkpoints by the clock, which are used when a machine is lost and by
        no reset; one is kept besides the five.
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.check]
"""

EXAMPLES = r"""
- name: What the base is now, the seats shall begin again from
  workspace_checkpoint:
    name: Workshop
"""

RETURN = r"""
checkpoints:
  description: The workspace's checkpoints, oldest first, each with C(tag) (the image's name) and C(taken_at).
  returned: success
  type: list
  elements: dict
problem:
  description: Why the new checkpoint is not in the image registry of an installation with several machines, if so.
  returned: success
  type: str
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.workspaces.checkpoints import take_checkpoint


@with_context(DOCUMENTATION, required_one_of=[("name", "id")])
def main(module: AnsibleModule, context: Context) -> Result:
    outcome = take_checkpoint(context, **own_options(module), check_mode=module.check_mode)
    if outcome.problem:
        module.warn(outcome.problem)
    shown = [{"tag": checkpoint.tag, "taken_at": checkpoint.taken_at} for checkpoint in outcome.checkpoints]
    return {"changed": outcome.changed, "checkpoints": shown, "problem": outcome.problem}


if __name__ == "__main__":
    main()
