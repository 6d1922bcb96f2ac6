#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_check
short_description: Check that lego can use a DNS provider
version_added: "0.3.0"
description:
  - Fails if C(gateway_certificate) could not use the provider with variables of these names. Changes nothing, and asks
    nobody; whether the provider accepts the credentials is known only when there is a certificate to get.
options:
  provider:
    description: lego's code of the DNS provider.
    type: str
    required: true
  variables:
    description: The names of the variables that are set for it.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [atelier.check]
"""

EXAMPLES = r"""
- name: Check the DNS provider
  acme_check:
    provider: rfc2136
    variables: [RFC2136_NAMESERVER]
"""

RETURN = r"""
provider:
  description: The DNS provider.
  returned: success
  type: str
  sample: rfc2136
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module
from ansible.module_utils.atelier.gateway.dns_providers import check_provider


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    provider = module.params["provider"]
    check_provider(provider, module.params["variables"])
    return {"changed": False, "provider": provider}


if __name__ == "__main__":
    main()
