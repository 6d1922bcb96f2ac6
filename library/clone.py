#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: clone
short_description: Create many copies of one workspace
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - Takes one snapshot of the source (running or stopped), and creates the seats from it in parallel. The snapshot is
    removed at the end, also after a crash.
  - Reserving the seats is all or nothing. After that, a failed seat is in state V(error) without affecting the
    others; the module fails only if all do.
  - Secrets in well-known locations of the source (password, git credentials, keys, shell history, tokens) are not
    copied to the clones.
  - Run it again after an interruption to create the missing seats.
options:
  count:
    description:
      - Number of clones, 1 to 50. They are named C({source} 1), C({source} 2) and so on, skipping names in use,
        so each run creates new ones, except that an interrupted run is completed first.
    type: int
  names:
    description: Names of seats that should exist and run. Existing ones are not changed.
    type: list
    elements: str
    default: []
  ids:
    description: Ids of seats that were reserved before.
    type: list
    elements: str
    default: []
  password:
    description: One password for all seats, 8 to 50 characters. Without it, everybody who can reach a seat can use it.
    type: str
  passwords:
    description: Passwords by seat name, for O(names).
    type: dict
    default: {}
  generate_passwords:
    description: Generate a password for each new seat, and return it once.
    type: bool
    default: false
  seats_csv:
    description:
      - A file with a row for each seat (name, url, password, state), with mode 0600. Its passwords are reused, so
        that an interrupted run can be completed with the same passwords. A seat that was ever claimed, or given another
        password, keeps its own.
    type: path
  flatten_at:
    description: From this number of image layers on, the snapshot is flattened to a single layer. Docker allows 125.
    type: int
    default: 110
extends_documentation_fragment: [atelier, atelier.source, atelier.nodes, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: Twenty seats with a password each, noted in a file
  clone:
    source: base
    names: "{{ range(1, 21) | map('regex_replace', '^', 'base ') | list }}"
    generate_passwords: true
    seats_csv: /root/seats.csv

- name: Five more, all with the same password
  clone:
    source: base
    count: 5
    password: "{{ vault_student_password }}"
"""

RETURN = r"""
seats:
  description:
    - The seats, each as the workspace module returns it, with C(changed) and C(password); the latter only if it was
      set in this run.
  returned: success
  type: list
  elements: dict
failed_seats:
  description: Names of the seats that are in state V(error).
  returned: success
  type: list
  elements: str
resumed:
  description: Whether an interrupted run was completed instead of starting a new one.
  returned: success
  type: bool
source:
  description: The workspace that was cloned.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.workspaces.cloning import CloneOrder, clone
from ansible.module_utils.atelier.workspaces.credentials_csv import CredentialsCsv


@with_context(DOCUMENTATION, required_one_of=[("source", "source_id")])
def main(module: AnsibleModule, context: Context) -> Result:
    given = own_options(module)
    csv = given.pop("seats_csv")
    sheet = CredentialsCsv(Path(csv), folder_to_be_made=context.site.state_dir) if csv else None
    outcome = clone(context, CloneOrder(sheet=sheet, **given), check_mode=module.check_mode)
    changed = [seat["name"] for seat in outcome["seats"] if seat["changed"]]
    return {
        **outcome,
        "changed": bool(changed),
        "diff": {"before": {"changed_seats": []}, "after": {"changed_seats": changed}},
        "failed_seats": [seat["name"] for seat in outcome["seats"] if seat["error"] is not None],
    }


if __name__ == "__main__":
    main()
