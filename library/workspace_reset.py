#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_reset
short_description: Reset a seat to its last checkpoint or its base
version_added: "0.1.0"
description:
  - The seat gets a new container with the same id, address and password, and runs. Its image is the first that exists
    of the seat's last checkpoint, its base's last checkpoint, the base's present state, the image that the seat was
    cloned from, and its template, with the repository at its git_url fetched
    again without a token.
  - The old container is stopped and kept for a while, renamed to C(<container>-kept-<time>).
  - Every run resets the seat, unless it has the same O(run_id) as the last one. Repeat an interrupted run to complete
    it.
options:
  run_id:
    description: An id chosen by the caller. A second run with the same id changes nothing.
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.keep_hours, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: Seven begins again
  workspace_reset:
    name: Workshop 7
"""

RETURN = r"""
workspace:
  description: The seat as it is now, as the workspace module returns it.
  returned: success
  type: dict
origin:
  description:
    - V(checkpoint), V(base), V(original_image) (of the seat's old container), V(repository) or V(template).
    - Empty if there was nothing to do.
  returned: success
  type: str
  sample: checkpoint
kept:
  description: Name of the old container; null if there was none.
  returned: success
  type: str
  sample: atelier-3f1c9a0b77de-kept-20261124t093000000000z
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.workspaces.reset import reset


@with_context(DOCUMENTATION, required_one_of=[("name", "id")])
def main(module: AnsibleModule, context: Context) -> Result:
    return reset(context, **own_options(module), check_mode=module.check_mode).view()


if __name__ == "__main__":
    main()
