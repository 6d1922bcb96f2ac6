#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: forgejo_repo
short_description: Create, change or remove a repository on the git server
version_added: "0.1.0"
description:
  - The git server is Forgejo or Atelier's own embedded service; both are used through Forgejo's HTTP API v1.
  - All repositories belong to one account, C(atelier_git_admin_user). A new one is empty, and only that account can
    push to it until a seat is granted a branch.
options:
  name:
    description:
      - 1 to 100 letters, digits, hyphens, underscores and single dots. Not V(*.git), V(*.wiki), V(*.rss), V(*.atom).
    type: str
    required: true
  state:
    description: Whether it should exist. V(absent) removes it with all its content.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: At most 2048 characters.
    type: str
  private:
    description: Whether it is hidden from Forgejo accounts without access to it. V(false) for a new one.
    type: bool
  default_branch:
    description: V(main) for a new one. If the repository is not empty, the branch must exist.
    type: str
  branches:
    description: Branches that should exist. Missing ones are created from the default branch; others stay.
    type: list
    elements: str
    default: []
  if_taken:
    description:
      - What to do if the name is in use. V(use) takes that repository and changes what differs.
      - V(suffix) creates a new one, with V(-2), V(-3), ... appended to its name. V(fail) fails.
    type: str
    choices: [use, suffix, fail]
    default: use
  ready_timeout:
    description: Maximum seconds of one response of the git server.
extends_documentation_fragment: [atelier, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: A repository for the course
  forgejo_repo:
    name: spring-school
    description: What we build together

- name: With branches for two groups
  forgejo_repo:
    name: spring-school
    branches: [group-a, group-b]
"""

RETURN = r"""
repository:
  description: The repository; null if it does not exist, or if check mode would create it.
  returned: success
  type: dict
  sample:
    name: spring-school
    full_name: developer/spring-school
    description: What we build together
    private: false
    default_branch: main
    empty: false
    web_url: http://localhost/git/developer/spring-school
    clone_url: http://localhost/git/developer/spring-school.git
    created_at: "2026-02-14T10:00:00Z"
    updated_at: "2026-02-14T10:00:00Z"
    size: 12
branches:
  description: The names of its branches.
  returned: success
  type: list
  elements: str
"""

from dataclasses import asdict

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Result, as_module, own_options, parse_site
from ansible.module_utils.atelier.git.client import open_forge
from ansible.module_utils.atelier.git.repository import IfTaken, RepositorySpec, apply_repository, check_repository


@as_module(DOCUMENTATION)
def main(module: AnsibleModule) -> Result:
    given = own_options(module)
    present, if_taken = given.pop("state") == "present", IfTaken(given.pop("if_taken"))
    desired = RepositorySpec(present=present, if_taken=if_taken, branches=tuple(given.pop("branches")), **given)
    check_repository(desired)
    forge = open_forge(parse_site(module.params["site"]), module.params["ready_timeout"])
    change = apply_repository(forge, desired, check_mode=module.check_mode)
    return {
        "changed": change.changed,
        "repository": asdict(change.repository) if change.repository else None,
        "branches": change.after.get("branches", []),
        "diff": {"before": change.before, "after": change.after},
    }


if __name__ == "__main__":
    main()
