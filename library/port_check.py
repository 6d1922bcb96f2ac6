#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: port_check
short_description: Check that a TCP port of this host is free
version_added: "0.1.0"
description:
  - Fails with C(PORT_IN_USE), naming the process, when another process listens on the port. Changes nothing.
options:
  port:
    description: The port.
    type: int
    required: true
  field:
    description: The setting that the port comes from, to name in the failure.
    type: str
    required: true
  own_containers:
    description: Ids of containers whose processes may hold the port.
    type: list
    elements: str
    default: []
  subnets:
    description:
      - Bridges' subnets (IPv4), there already or not. The port must be free on the bridges' own addresses, the first of
        each; left out, on all addresses of the host.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [atelier.check]
"""

EXAMPLES = r"""
- name: Check that the gateway can have its port
  port_check:
    port: 80
    field: atelier_base_port
"""

RETURN = r"""
port:
  description: The port that is free.
  type: int
  returned: success
  sample: 80
"""

from ipaddress import ip_network

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module
from ansible.module_utils.atelier.host import ports


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    port: int = module.params["port"]
    addresses = [str(ip_network(subnet)[1]) for subnet in module.params["subnets"]]
    found = ports.holders(port, module.params["own_containers"], addresses=addresses)
    ports.require_free(port, module.params["field"], found)
    return {"changed": False, "port": port}


if __name__ == "__main__":
    main()
