#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_upgrade
short_description: Give workspaces their template's present image
version_added: "0.3.0"
requirements: [argon2-cffi]
description:
  - A workspace gets a new container of its template's image, which is built first if the template or the IDE changed.
    It keeps its id, address, password, claim, aliases, branch, C(/workspace) and its home folder. Everything else in
    the old container is lost for it, such as packages that were installed with apt.
  - A running workspace is stopped while its files are copied, and runs afterwards; programs in it end. A stopped one
    is started for a moment, to see that it comes up, and stays stopped.
  - The old container is stopped and kept for a while, renamed to C(<container>-kept-<time>). A workspace that does not
    come up gets it back.
  - Workspaces that have the present image are not changed. Safe to run again after an interruption.
options:
  group:
    description: Not one workspace but those of this group.
    type: str
  all:
    description: Not one workspace but all.
    type: bool
    default: false
extends_documentation_fragment: [atelier, atelier.workspace, atelier.keep_hours, atelier.check]
"""

EXAMPLES = r"""
- name: Give the workshop's seats the new IDE
  workspace_upgrade:
    group: workshop
"""

RETURN = r"""
seats:
  description:
    - What became of each workspace, with C(id), C(name) and C(changed); C(kept) is the name of its old container.
    - C(error) is why a workspace was not upgraded. It is as it was.
  returned: success
  type: list
  elements: dict
failed_seats:
  description: The ids of those that were not upgraded.
  returned: success
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
from ansible.module_utils.atelier.workshop.upgrade import upgrade

_CHOICES = ("id", "name", "group", "all")


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    wanted = own_options(module)
    if sum(bool(wanted[choice]) for choice in _CHOICES) != 1:
        raise invalid("input.exactly_one", "name", names=", ".join(_CHOICES))
    del wanted["all"]
    return seats_result(upgrade(context, **wanted, check_mode=module.check_mode), "changed")


if __name__ == "__main__":
    main()
