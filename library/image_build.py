#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build or pull an image of the platform
version_added: "0.2.0"
description:
  - Builds an image from a folder with BuildKit, and shows which step it is at. The caller decides whether it is needed.
  - Needs Docker's command line, from its version 23 on with the plugin buildx. Before that, as in Debian 12, BuildKit
    is in Docker itself.
  - The build may mount the files that C(site.builds) names as secrets, by the ids C(pip_conf) and C(npmrc); none
    becomes part of the image.
  - If C(site.builds.images_from) names a registry, the image is pulled from there instead. Docker's own settings and
    logins apply. If the registry does not give it, an image that is here stays, with a warning.
options:
  name:
    description: The image's name with its tag.
    type: str
    required: true
  path:
    description: The folder that the build may read.
    type: path
    required: true
  dockerfile:
    description: The Dockerfile, below O(path).
    type: str
    default: Dockerfile
  args:
    description: Values of the Dockerfile's arguments.
    type: dict
    default: {}
  labels:
    description: The image's labels.
    type: dict
    default: {}
  unless_present:
    description: Leave an image of this name as it is, because its tag tells what it is made of.
    type: bool
    default: false
extends_documentation_fragment: [atelier.site, atelier.check]
"""

EXAMPLES = r"""
- name: Build the gateway's image
  image_build:
    name: atelier/gateway:1
    path: /usr/src/gateway
    args: {BASE: "debian:trixie"}
"""

RETURN = r"""
name:
  description: The image's name.
  type: str
  returned: success
  sample: atelier/gateway:1
"""

from pathlib import Path

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site, progress_reporter
from ansible.module_utils.atelier.common.errors import AtelierError
from ansible.module_utils.atelier.common.messages import Message
from ansible.module_utils.atelier.engine.build import build_image
from ansible.module_utils.atelier.engine.client import Engine
from ansible.module_utils.atelier.engine.docker_errors import is_engine_away
from ansible.module_utils.atelier.engine.models import ImageBuild
from ansible.module_utils.atelier.engine.ready_made import pull_ready_made

_SECONDS = 3600  # a slow machine compiles code-server, too


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    given, site = module.params, parse_site(module.params["site"])
    engine, builds = Engine(site.engine_url), site.builds
    assert builds is not None  # noqa: S101 - the inventory's site has them
    before = engine.image(given["name"])
    if given["unless_present"] and before is not None:
        return {"changed": False, "name": given["name"]}
    if builds.images_from:
        if module.check_mode:
            return {"changed": before is None, "name": given["name"]}
        try:
            pulled = pull_ready_made(engine, builds.images_from, given["name"])
        except AtelierError as error:
            if before is None or is_engine_away(error):
                raise
            # The registry of a workshop's venue may be away; what is here was taken from it.
            module.warn(error.sentence)
            return {"changed": False, "name": given["name"]}
        return {"changed": before is None or before.id != pulled.id, "name": given["name"]}
    build = ImageBuild(
        tag=given["name"],
        context=Path(given["path"]),
        dockerfile=Path(given["path"], given["dockerfile"]),
        labels=given["labels"],
        secrets={"pip_conf": builds.pip_conf, "npmrc": builds.npmrc},
        seconds=_SECONDS,
        args=given["args"],
    )
    report = progress_reporter()
    step = Message("step.image", name=build.tag)
    if not module.check_mode:
        build_image(site.engine_url, build, lambda _, done, total: report(step, done, total))
    return {"changed": True, "name": build.tag}


if __name__ == "__main__":
    main()
