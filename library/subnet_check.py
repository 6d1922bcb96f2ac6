#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: subnet_check
short_description: Check that address ranges for Docker networks are free on this host
version_added: "0.1.0"
description:
  - Fails with C(VALIDATION_ERROR) if a range is malformed or overlaps one that the host already routes.
    Docker itself only compares with its own networks.
  - Fails with C(VALIDATION_ERROR) when a trusted proxy is malformed or could be a seat.
  - Returns the host's uplink interfaces and its name servers. Changes nothing.
  - Warns about Docker versions that let DNS queries out of internal networks.
options:
  networks:
    description: The ranges to check.
    type: list
    elements: dict
    default: []
    suboptions:
      subnet:
        description: The range, CIDR.
        type: str
        required: true
      bridge:
        description: The interface for it. Its own route is not a collision.
        type: str
        required: true
      variable:
        description: The setting to name if the range collides.
        type: str
        required: true
  proxies:
    description: Addresses and ranges of trusted proxies.
    type: list
    elements: str
    default: []
  seat_subnets:
    description: The seats' ranges, which must not contain a trusted proxy.
    type: list
    elements: str
    default: []
  internal_destinations:
    description: Private addresses and networks, CIDR, that seats can reach.
    type: list
    elements: str
    default: []
  engine_version:
    description: The version of the Docker Engine.
    type: str
    default: ""
extends_documentation_fragment: [atelier.check]
"""

EXAMPLES = r"""
- name: Check the range of the open network
  subnet_check:
    networks:
      - subnet: 172.28.0.0/16
        bridge: atl-open
        variable: atelier_network_open_subnet
"""

RETURN = r"""
uplinks:
  description: The interfaces of the default routes.
  type: list
  elements: str
  returned: success
  sample: [eth0]
neighbours:
  description: The IPv4 networks routed through these interfaces.
  type: list
  elements: str
  returned: success
  sample: [192.0.2.0/24]
name_servers:
  description: The IPv4 name servers outside the host that it uses. Containers use the same.
  type: list
  elements: str
  returned: success
  sample: [192.0.2.53]
internal_destinations:
  description: The given destinations, checked, by version of IP.
  type: dict
  returned: success
  sample: {ipv4: [10.1.2.3/32], ipv6: []}
"""

from pathlib import Path

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module
from ansible.module_utils.atelier.common.egress_modes import PROXIED_MODES
from ansible.module_utils.atelier.common.messages import Message
from ansible.module_utils.atelier.host import subnets

# The second holds what a systemd-resolved asks that the first points to.
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    routes = subnets.parse_routes(Path("/proc/net/route").read_text(encoding="ascii"))
    subnets.check_subnets([subnets.Wanted(**network) for network in module.params["networks"]], routes)
    subnets.check_proxies(module.params["proxies"], module.params["seat_subnets"])
    if subnets.lets_names_out(module.params["engine_version"]):
        version = module.params["engine_version"]
        module.warn(str(Message("docker.lets_names_out", version=version, modes=", ".join(PROXIED_MODES))))
    resolvers = [path.read_text() for path in RESOLVERS if path.exists()]
    return {
        "changed": False,
        "uplinks": subnets.uplinks(routes),
        "neighbours": subnets.neighbours(routes),
        "name_servers": subnets.name_servers(*resolvers),
        "internal_destinations": subnets.destinations(module.params["internal_destinations"]),
    }


if __name__ == "__main__":
    main()
