#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_reconcile
short_description: Find and repair differences between Docker, the database and the gateway
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - Finds containers without a database row, rows without a container, workspaces whose creation was interrupted, wrong
    statuses, wrong routes, interrupted and left-over snapshots, interrupted resets and what they left, and left-over
    volumes.
  - A repair removes only incomplete objects. Containers without a row get one from their labels.
  - Workspaces that another run is working on are skipped. A repair that fails ends no other; the module then fails.
options:
  repair:
    description: Whether to repair what is found.
    type: bool
    default: false
  abandoned_ids:
    description:
      - Ids of workspaces whose creation was abandoned by the calling job. Their incomplete parts are removed, their
        rows stay.
    type: list
    elements: str
    default: []
  after_job:
    description:
      - Id of the ended job that calls this. Its workspaces are skipped only if another job is working on them.
    type: str
    version_added: 0.2.0
extends_documentation_fragment: [atelier, atelier.keep_hours, atelier.check]
"""

EXAMPLES = r"""
- name: What is not as it should be
  workspace_reconcile:
  register: drift
"""

RETURN = r"""
drift:
  description: What was found, each with C(kind), C(subject), C(message), C(remedy) and C(repaired).
  returned: success
  type: list
  elements: dict
  sample:
    - kind: orphan_container
      subject: atelier-seat-3f1c9a0b77de
      message: The container atelier-seat-3f1c9a0b77de ('base') has no database row.
      remedy: Create its row from its labels.
      repaired: false
"""

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.reconcile import find_drift, repair_all


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    given = own_options(module)
    repair = given.pop("repair")
    drift = find_drift(context, **given)
    repaired = repair and not module.check_mode
    if repaired:
        repair_all(context, drift)
    return {
        "changed": repair and bool(drift),
        "drift": [
            {
                "kind": difference.kind,
                "subject": difference.subject,
                "message": difference.message,
                "remedy": difference.message.remedy,
                "repaired": repaired,
            }
            for difference in drift
        ],
    }


if __name__ == "__main__":
    main()
