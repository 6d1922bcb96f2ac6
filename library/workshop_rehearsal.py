#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workshop_rehearsal
short_description: Load test for a workshop, with a go or no-go
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - Each seat's page and WebSocket are opened through the gateway at the same time, as participants will.
  - The verdict is no-go if a seat does not start or cannot be opened, if opening takes too long, if the proxy of the
    source's mode does not answer, or if quotas, addresses, memory or disk are insufficient.
  - The seats are in a separate group, so they cannot be claimed, and are removed at the end; after a crash, by the
    next run.
options:
  seats:
    description: Number of seats, 1 to 500.
    type: int
    required: true
extends_documentation_fragment: [atelier, atelier.source, atelier.no_check]
"""

EXAMPLES = r"""
- name: Twenty seats, as on the day
  workshop_rehearsal:
    source: Workshop
    seats: 20
"""

RETURN = r"""
verdict:
  description:
    - C(go), and C(reasons) for a no-go.
    - Seconds until all seats exist (C(made_in)), and from opening one until its WebSocket is open (C(p50), C(p95)).
    - Bytes (C(memory_per_seat), C(disk_per_seat)).
    - Which limit is reached first, and after how many more seats (C(first_limit) with C(what) and C(seats)); with
      several machines also on which one, for memory and disk (C(node)).
  returned: success
  type: dict
checks:
  description: The checks that were made. Each has a C(name), and as C(fault) why it failed, or null.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, with_context
from ansible.module_utils.atelier.workshop.rehearsal import rehearse


@with_context(DOCUMENTATION, required_one_of=[("source", "source_id")])
def main(module: AnsibleModule, context: Context) -> Result:
    given = module.params
    done = rehearse(context, source_id=given["source_id"], source_name=given["source"], seats=given["seats"])
    # All that it made is gone again.
    return {"changed": False, **done}


if __name__ == "__main__":
    main()
