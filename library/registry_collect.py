#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_collect
short_description: Free the space of deleted images in the image registry
version_added: "0.2.0"
description:
  - Removes the layers that no image of the registry has. Pushes wait meanwhile, pulls go on.
  - Does nothing while an image is being pushed, and on an installation with a single machine.
options:
  ready_timeout:
    description: Not used.
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: Free the space of deleted images
  registry_collect:
"""

RETURN = r"""
collected:
  description: Whether it was done.
  returned: success
  type: bool
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, with_context
from ansible.module_utils.atelier.containers.distribution import collect_garbage, has_garbage


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    had = has_garbage(context.site)
    collected = bool(context.site.nodes) and not module.check_mode and collect_garbage(context)
    return {"changed": had and (collected or module.check_mode), "collected": collected}


if __name__ == "__main__":
    main()
