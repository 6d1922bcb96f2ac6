#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: template_images
short_description: Build the images of templates
version_added: "0.2.0"
description:
  - Builds the image of each named template if it is missing, or if the template's files or the IDE's image changed.
  - Existing images of other templates are also kept up to date.
  - A template is a folder in C(site.builds.template_dirs), or one of Atelier's own.
options:
  templates:
    description: Names of the templates whose images must exist.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [atelier.site, atelier.check]
"""

EXAMPLES = r"""
- name: Build the images of two templates
  template_images:
    templates: [empty, nodejs-react]
"""

RETURN = r"""
built:
  description: Names of the templates whose images were built.
  returned: success
  type: list
  elements: str
  sample: [nodejs-react]
summary:
  description: What was built, in a sentence for people.
  returned: success
  type: str
  sample: "Built: nodejs-react."
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site, progress_reporter
from ansible.module_utils.atelier.common.locks import Locks
from ansible.module_utils.atelier.containers.template_images import TemplateImages, template_folders
from ansible.module_utils.atelier.engine.client import Engine


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    site = parse_site(module.params["site"])
    # The first installation of a machine has no state folder at this point.
    site.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    images = TemplateImages(site, Engine(site.engine_url), Locks(site.state_dir), progress_reporter())
    others = [template for template in images.built() if template in template_folders(site.builds)]
    wanted = dict.fromkeys([*module.params["templates"], *others])
    built = [template for template in wanted if images.refresh(template, check_mode=module.check_mode)]
    return {"changed": bool(built), "built": built, "summary": f"Built: {', '.join(built) or 'nothing'}."}


if __name__ == "__main__":
    main()
