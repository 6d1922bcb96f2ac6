#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_fingerprint
short_description: Check whether the platform changed since the last complete run
version_added: "0.1.0"
description:
  - Compares what the platform is made from (files, variables) and what is there of it (its containers and what they
    run, images, bridges, firewall, configuration files, a git server that takes Atelier's credentials) with what the
    last complete run noted in C(platform.json) of the state folder. Where all of it is the same, and the boot too,
    there is nothing to do.
  - Fails, before anything else, if a newer version of Atelier is installed, or if machines have workspaces and the
    inventory does not name them. A complete run notes the version and commit of the checkout in C(installed.json) of
    the state folder.
  - What was noted counts for a day; then everything is looked at again.
  - V(compare) forgets what was noted when anything differs, so that a run which then fails is not taken for a
    complete one. Nothing of the platform is changed.
options:
  state:
    description: V(compare) at the beginning of a run, V(recorded) at its end.
    type: str
    choices: [compare, recorded]
    required: true
  look_at:
    description: What tells whether anything changed. V(compare) returns it for V(recorded).
    type: dict
    required: true
    suboptions:
      made_from:
        description: Files and folders that every play reads.
        type: list
        elements: path
        required: true
      plays:
        description: Plays that need not run when what they read is the same, although something else changed.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: The play's name.
            type: str
            required: true
          made_from:
            description: Files and folders that it reads.
            type: list
            elements: path
            required: true
          variables:
            description: A digest of the variables that it reads.
            type: str
            required: true
      variables:
        description: A digest of all variables. The API's play reads them, which runs whenever anything changed.
        type: str
        required: true
      made_from_by_api:
        description: Files and folders that only the API's play and those in O(look_at.plays) read.
        type: list
        elements: path
        required: true
      files:
        description: Files and folders that the roles made.
        type: list
        elements: path
        required: true
      bridges:
        description: Network interfaces that the roles made.
        type: list
        elements: str
        required: true
      templates:
        description: Templates whose images the roles made.
        type: list
        elements: str
        required: true
      machines:
        description: What other machines have of the platform, as a digest by the machine's name.
        type: dict
        default: {}
  since:
    description:
      - When all plays ran last, in seconds since 1970; now if not given. V(compare) returns it when plays are left out,
        so that a day after it everything is looked at again.
    type: float
  everything:
    description: Look at everything again, whatever was noted.
    type: bool
    default: false
extends_documentation_fragment: [atelier.site, atelier.check]
"""

EXAMPLES = r"""
- name: Look whether anything changed since the last run
  platform_fingerprint:
    state: compare
    look_at:
      made_from: ["{{ playbook_dir }}/../library"]
      plays:
        - name: Gateway
          made_from: ["{{ playbook_dir }}/../roles/gateway"]
          variables: "{{ atelier_base_port | string | hash('sha256') }}"
      variables: "{{ (atelier_base_port ~ atelier_seat_disk) | hash('sha256') }}"
      made_from_by_api: ["{{ playbook_dir }}/../api", "{{ playbook_dir }}/../roles"]
      files: ["{{ atelier_state_dir }}/gateway/haproxy.cfg"]
      bridges: ["{{ atelier_network_open_bridge }}"]
      templates: "{{ atelier_templates }}"
"""

RETURN = r"""
unchanged:
  description: Whether there is nothing to do.
  type: bool
  returned: success
why:
  description: What differs, the first thing found.
  type: str
  returned: when something does
since:
  description: When all plays ran last, if some are left out now.
  type: float
  returned: when something differs
plays_unchanged:
  description: The names of the plays of O(look_at.plays) that need not run.
  type: list
  elements: str
  returned: when something differs
look_at:
  description: What was given.
  type: dict
  returned: success
summary:
  description: The same for people.
  type: str
  returned: success
"""

import time
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site
from ansible.module_utils.atelier.common.errors import AtelierError
from ansible.module_utils.atelier.common.models import Site
from ansible.module_utils.atelier.engine.client import Engine
from ansible.module_utils.atelier.host import installation
from ansible.module_utils.atelier.host import platform_fingerprint as fingerprints


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    # Refuse impossible settings here, before anything is created.
    site = parse_site(module.params["site"])
    return _compare(module, site) if module.params["state"] == "compare" else _record(module, site)


def _compare(module: AnsibleModule, site: Site) -> Result:
    installation.refuse_newer(site.state_dir)
    installation.refuse_unnamed_nodes(site.state_dir, site.node_names)
    file, answer = _file(site), {"changed": False, "look_at": module.params["look_at"]}
    left_out: list[str] = []
    last = fingerprints.read_fingerprint(file)
    try:
        now = _look(module, site)
    except AtelierError as error:  # no Docker yet, or none that runs: the roles see to that
        why: str | None = error.message.rstrip(".")
    else:
        why = fingerprints.difference(last, now)
        left_out = fingerprints.plays_unchanged(last, now)
    if module.params["everything"]:
        why, left_out = "everything was asked for", []
    if why is None:
        return answer | {"unchanged": True, "summary": "No: the platform is as the last run left it."}
    if not module.check_mode:
        file.unlink(missing_ok=True)
    since = last.at if last and left_out else None
    running = f"Running all roles but those of {', '.join(left_out)}" if left_out else "Running all roles"
    told = {"why": why, "since": since, "plays_unchanged": left_out, "summary": f"{running}: {why}."}
    return answer | {"unchanged": False} | told


def _record(module: AnsibleModule, site: Site) -> Result:
    if not module.check_mode:
        # A machine that failed is set up, and reported, by every run until one succeeds.
        if {node.name for node in site.nodes} <= module.params["look_at"]["machines"].keys():
            now = _look(module, site)
            fingerprints.write_fingerprint(_file(site), replace(now, at=module.params["since"] or now.at))
        installation.note(site.state_dir)
    return {"changed": False, "unchanged": True, "look_at": module.params["look_at"]}


def _file(site: Site) -> Path:
    return site.state_dir / "platform.json"


def _look(module: AnsibleModule, site: Site) -> fingerprints.Fingerprint:
    given = module.params["look_at"]
    engine = Engine(site.engine_url)
    nft = module.get_bin_path("nft")
    _, firewall, _ = module.run_command([nft, "list", "table", "inet", site.instance]) if nft else (1, "", "")
    parts = {
        "the firewall": firewall,
        **fingerprints.sources(map(Path, (*given["made_from"], *given["files"]))),
        **fingerprints.host(given["bridges"]),
        **fingerprints.services(engine, site.instance),
        **fingerprints.templates(engine, site, given["templates"]),
        **fingerprints.git_server(site),
        **fingerprints.machines(engine, site, given["machines"]),
    }
    of_api = {"a variable": given["variables"], **fingerprints.sources(map(Path, given["made_from_by_api"]))}
    plays = {
        play["name"]: fingerprints.digest({"": play["variables"], **fingerprints.sources(map(Path, play["made_from"]))})
        for play in given["plays"]
    }
    return fingerprints.Fingerprint(time.time(), parts, of_api, plays)


if __name__ == "__main__":
    main()
