#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_alias
short_description: Create a readable subdomain for a port of a workspace
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - The gateway routes C(<subdomain>.<domain>) to the port at once, without a reload. The program must listen on all
    addresses.
  - With O(user), the gateway asks for name and password, and does not pass them on to the program.
options:
  state:
    description: Whether the alias should exist.
    type: str
    choices: [present, absent]
    default: present
  subdomain:
    description: 3 to 32 lower-case letters, digits and hyphens; a letter first. Unique among all aliases.
    type: str
    required: true
  port:
    description: 1 to 65535 except 8082. Required with O(state=present).
    type: int
  user:
    description: The name to ask for, 1 to 64 characters; without it, the address is open to all who know it.
    type: str
  password:
    description: The password to ask for, 6 to 128 characters. Stored as an argon2id hash only.
    type: str
  password_hash:
    description: An argon2id hash instead of the password.
    type: str
extends_documentation_fragment: [atelier, atelier.workspace, atelier.no_check]
"""

EXAMPLES = r"""
- name: The demo of the seventh seat
  workspace_alias:
    name: Workshop 7
    subdomain: demo
    port: 3000
"""

RETURN = r"""
url:
  description: The alias's address.
  returned: success
  type: str
  sample: http://demo.localhost/
"""

from typing import Any

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, with_context
from ansible.module_utils.atelier.common.errors import invalid
from ansible.module_utils.atelier.common.passwords import hash_password, verify_password
from ansible.module_utils.atelier.gateway import aliases


@with_context(
    DOCUMENTATION,
    required_one_of=[("name", "id")],
    required_if=[("state", "present", ("port",))],
    mutually_exclusive=[("password", "password_hash")],
)
def main(module: AnsibleModule, context: Context) -> Result:
    given = module.params
    subdomain = aliases.check_subdomain(given["subdomain"])
    row = context.store.get(id=given["id"], name=given["name"])
    if given["state"] == "absent":
        changed = aliases.drop_alias(context.store, row.id, subdomain)
    else:
        user = aliases.check_user(given["user"]) if given["user"] is not None else None
        password_hash = _hash(context, subdomain, given) if user else None
        alias = aliases.Alias(subdomain, row.id, aliases.check_port(given["port"]), user, password_hash)
        changed = aliases.put_alias(context.store, alias)
    context.sync_aliases()
    return {"changed": changed, "url": context.site.workspace_url(subdomain)}


def _hash(context: Context, subdomain: str, given: dict[str, Any]) -> str:
    """The hash to keep: the present one where the password is the same, so that a second run changes nothing."""
    if given["password_hash"] is not None:
        return str(given["password_hash"])
    if given["password"] is None:
        raise invalid("input.requires", "password", given="user", other="password")
    password = aliases.check_alias_password(given["password"])
    present = aliases.find_alias(context.store, subdomain)
    if present and present.password_hash and verify_password(present.password_hash, password):
        return present.password_hash
    return hash_password(password)


if __name__ == "__main__":
    main()
