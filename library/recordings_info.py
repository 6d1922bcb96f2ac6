#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: recordings_info
short_description: Read the recordings of a workspace
version_added: "0.1.0"
requirements: [idna, publicsuffixlist, PyYAML]
description:
  - Returns the domains that a workspace with the proxy mode V(logging) requested, sorted into categories, and its
    conversations with LLMs as a Markdown document. Changes nothing.
options:
  document:
    description:
      - Also return its conversations as a document. V(clean) has the messages and the used tools, V(detailed) also
        system prompts, reasoning, settings, times and tokens of each call.
    type: str
    choices: [clean, detailed]
  categories:
    description: Additional rules, C(labels) and C(hosts) by category name.
    type: dict
    default: {}
extends_documentation_fragment: [atelier.site, atelier.workspace, atelier.check]
"""

EXAMPLES = r"""
- name: What the base workspace asked for
  recordings_info:
    name: Spring
  register: recorded
"""

RETURN = r"""
workspace:
  description: Its C(id), C(name) and C(address).
  returned: success
  type: dict
domains:
  description: For each domain C(count), C(first_seen) and C(last_seen).
  returned: success
  type: dict
categorized:
  description: The same as lists by category, the most used first; each entry has its C(domain).
  returned: success
  type: dict
total_domains:
  description: How many domains there are.
  returned: success
  type: int
conversation_count:
  description: How many conversations were recorded.
  returned: success
  type: int
unanswered:
  description: The machines that did not answer; what was recorded there is missing.
  returned: success
  type: list
  elements: str
document:
  description: The conversations in Markdown.
  returned: when O(document) is given
  type: str
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site
from ansible.module_utils.atelier.containers.engines import Engines
from ansible.module_utils.atelier.containers.node_lists import PATIENCE_SECONDS
from ansible.module_utils.atelier.database.workspace_store import WorkspaceStore
from ansible.module_utils.atelier.egress.categories import read_categories
from ansible.module_utils.atelier.recordings.folders import recorded_anywhere
from ansible.module_utils.atelier.recordings.report import check_recorded, report


@as_module(DOCUMENTATION, required_one_of=[("name", "id")])
def main(module: AnsibleModule) -> Result:
    params = module.params
    site = parse_site(params["site"])
    categories = read_categories(params["categories"])
    with WorkspaceStore(site.state_dir, site.networks, site.quotas, create=False) as store:
        workspace = store.get(id=params["id"], name=params["name"])
    engines = Engines(site, patience=PATIENCE_SECONDS)
    recorded = recorded_anywhere(site, engines.of, check_recorded(workspace).id)
    return {"changed": False, **report(recorded, workspace, categories, params["document"])}


if __name__ == "__main__":
    main()
