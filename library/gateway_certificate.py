#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_certificate
short_description: Renew the gateway's certificate
version_added: "0.2.0"
requirements: [cryptography]
description:
  - Gets a certificate for the domain and its subdomains from an authority with ACME, by DNS-01 with lego, if less than
    a third of the present one's life is left, and hands it to the running gateway without a reload.
  - Does nothing on an installation without C(atelier_tls_acme). What to ask for was written by the role C(gateway).
options:
  force:
    description: Whether to get a certificate whatever is left of the present one.
    type: bool
    default: false
  keep_valid:
    description: Whether to succeed, with C(problem), if a new one cannot be had while the present one is valid.
    type: bool
    default: false
extends_documentation_fragment: [atelier.site, atelier.check]
"""

EXAMPLES = r"""
- name: Renew the certificate
  gateway_certificate:
"""

RETURN = r"""
expires:
  description: When the certificate ends, in ISO 8601; null if there is none from an authority.
  returned: success
  type: str
  sample: "2027-02-14T10:00:00+00:00"
problem:
  description: Why it could not be renewed, with C(keep_valid); null if there is no problem.
  returned: success
  type: str
"""

from datetime import UTC, datetime

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, parse_site
from ansible.module_utils.atelier.common.locks import Locks
from ansible.module_utils.atelier.gateway.acme import is_due, renew


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    site, now = parse_site(module.params["site"]), datetime.now(UTC)
    if module.check_mode:
        return {"changed": is_due(site.state_dir, now), "expires": None, "problem": None}
    force, keep_valid = module.params["force"], module.params["keep_valid"]
    done = renew(site, Locks(site.state_dir), now, force=force, keep_valid=keep_valid)
    return {
        "changed": done.changed,
        "expires": done.certificate.expires.isoformat() if done.certificate else None,
        "problem": done.problem.sentence if done.problem else None,
    }


if __name__ == "__main__":
    main()
