#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: squid_whitelist
short_description: Change the domains that workspaces behind Squid can reach
version_added: "0.1.0"
requirements: [idna, publicsuffixlist]
description:
  - An entry covers a domain and its subdomains. Domains that workspaces always need (packages of Debian and Ubuntu,
    extensions of the IDE) are always on the global list.
  - Squid checks the new configuration before it is used, applies it without a restart, and confirms it. If it rejects
    it, the previous configuration is restored and the module fails with Squid's message.
  - Squid must be running to change the global list.
  - The lists are then brought to the nodes. A node that does not answer does not fail the module, which warns and names
    it in RV(nodes_behind); the API brings it the lists later.
  - The next run completes a run that was killed.
options:
  domains:
    description:
      - Such as V(example.org); a leading dot, capitals and international names are allowed. Entries covered by another
        one are omitted.
      - Public suffixes (V(com), V(co.uk)), addresses, wildcards, ports and invalid names are refused. At most 10000.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) adds the domains, V(absent) removes them and their subdomains.
      - V(exact) replaces the list; the domains that are always allowed stay.
    type: str
    choices: [present, absent, exact]
    default: present
  group:
    description:
      - Change the additional list of this group of workspaces instead. It takes effect within seconds. An empty
        V(exact) list removes it.
    type: str
  ready_timeout:
    description: Maximum seconds until Squid has applied the new configuration.
extends_documentation_fragment: [atelier, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: Exactly what the course needs
  squid_whitelist:
    domains: [github.com, docs.python.org, packages.example.org]
    state: exact

- name: One group may use an AI service, too
  squid_whitelist:
    domains: [api.anthropic.com]
    group: spring-school
"""

RETURN = r"""
whitelist:
  description: All entries of the list as it is now, in Squid's form.
  returned: success
  type: list
  elements: str
  sample: [.debian.org, .eclipsecontent.org, .nodesource.com, .open-vsx.org, .openvsx.org, .python.org, .ubuntu.com]
raw:
  description: The section of squid.conf with the list; for a group, one entry per line.
  returned: success
  type: str
nodes_behind:
  description: The machines that do not have the lists yet, each with its C(node) and the C(error).
  returned: success
  type: list
  elements: dict
"""

from functools import cache

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site
from ansible.module_utils.atelier.common.locks import Locks
from ansible.module_utils.atelier.common.messages import Message
from ansible.module_utils.atelier.common.models import Site
from ansible.module_utils.atelier.common.validation import check_group
from ansible.module_utils.atelier.containers.engines import Engines
from ansible.module_utils.atelier.containers.node_lists import PATIENCE_SECONDS, NodeLists, has_node_lists
from ansible.module_utils.atelier.database.workspace_store import WorkspaceStore
from ansible.module_utils.atelier.egress.group_whitelists import GroupWhitelists
from ansible.module_utils.atelier.egress.squid import Squid
from ansible.module_utils.atelier.egress.whitelist import WhitelistMode, normalise
from ansible.module_utils.atelier.engine.client import Engine


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    given = module.params
    site, wait, group = parse_site(given["site"]), given["ready_timeout"], given["group"]
    entries, state = normalise(given["domains"]), WhitelistMode(given["state"])
    if group is not None:
        groups = GroupWhitelists(site.state_dir, wait)
        change = groups.change(check_group(group), entries, state, check_mode=module.check_mode)
    else:
        squid = Squid(site.state_dir, site.instance, cache(lambda: Engine(site.engine_url)), wait)
        change = squid.change(entries, state, check_mode=module.check_mode)
    behind = _bring_to_nodes(site, wait) if not module.check_mode else {}
    for message in behind.values():
        module.warn(f"{message} {message.remedy}")
    result = {
        "changed": change.changed,
        "whitelist": list(change.after),
        "raw": change.raw,
        "nodes_behind": [{"node": node, "error": message} for node, message in behind.items()],
    }
    if module._diff:  # only on request: with a long list the result would exceed ansible-runner's limit
        lines = {key: "".join(f"{entry}\n" for entry in getattr(change, key)) for key in ("before", "after")}
        header = "the whitelist" if group is None else f"the whitelist of {group}"
        result["diff"] = lines | {"before_header": header, "after_header": header}
    return result


def _bring_to_nodes(site: Site, wait: float) -> dict[str, Message]:
    """Also where nothing changed: an earlier run may have been killed. Returns why some nodes are behind."""
    if not has_node_lists(site):
        return {}
    engines = Engines(site, patience=PATIENCE_SECONDS)
    with WorkspaceStore(site.state_dir, site.networks, site.quotas) as store:
        behind = NodeLists(site, store, Locks(site.state_dir), wait).bring_everywhere(engines)
    return {node: Message("squid.node_behind", node=node, why=error.message) for node, error in behind.items()}


if __name__ == "__main__":
    main()
