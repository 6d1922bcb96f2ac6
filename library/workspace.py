#!/usr/bin/python
"""Ansible module: one workspace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace
short_description: Makes, starts, stops or removes one workspace
version_added: "0.1.0"
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, argon2-cffi, docker]
description:
  - A workspace is a browser IDE (code-server) in a container of its own, with a fixed address and a route through the
    gateway.
  - The module waits until the IDE answers HTTP, and fails when it does not; the container is then kept for inspection.
  - Memory and CPUs change on the live container; a password changes without restarting the container.
options:
  state:
    description:
      - V(present) makes the workspace if it is missing and starts it then; one that exists keeps running or stopped.
      - V(started) and V(stopped) also make it if it is missing.
      - V(absent) removes container, route and registry row. Its files are lost.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  name:
    description:
      - 3 to 50 letters, digits, hyphens or underscores; clones may hold spaces.
      - With O(id) given too, the workspace is renamed to this.
    type: str
  id:
    description: The workspace's id. Takes precedence over O(name) in finding it.
    type: str
  template:
    description:
      - The template to make it from, V(empty) if not given. An existing workspace keeps its own.
      - If the template's image is missing, it is built first, which takes minutes. Runs that need the same image at the
        same time build it once.
    type: str
  group:
    description: A label to find workspaces by, 1 to 50 letters, digits, spaces, hyphens or underscores.
    type: str
  memory:
    description: Memory ceiling, V(2g) if not given.
    type: str
  cpus:
    description: CPU ceiling in cores, V(2) if not given. On a smaller machine the container gets what there is.
    type: str
  proxy_mode:
    description: The way out to the network, V(none) (unrestricted) if not given. Can't be changed later.
    type: str
    choices: [none, logging, security]
  git_url:
    description:
      - Address of a repository, http or https, which takes the place of the template's files. Can't be changed later.
      - It holds no credentials, and does not lead to this machine. It is cloned in the seat, without submodules.
      - If git fails the workspace is in state V(error), with git's message; its container is kept.
    type: str
  git_username:
    description: The user beside O(git_token), V(git) if not given.
    type: str
  git_token:
    description: What opens the repository, a token or a password. Used once and kept nowhere.
    type: str
  git_timeout:
    description: Seconds that git may take.
    type: float
    default: 300
  git_repo:
    description:
      - Gives it a repository on the git server, named after it, to which the seat itself pushes C(/workspace) as
        C(main). Clones then get a branch of their own in it.
      - Without a git server, or when that fails, the workspace is made all the same; a warning and C(git_problem) say
        why, and running it again makes up for it.
      - The repository stays when the workspace is removed.
    type: bool
    default: false
  notes:
    description: Free text, at most 10240 bytes.
    type: str
  password:
    description: What the IDE asks for, 8 to 50 characters. Stored as an argon2id hash only.
    type: str
  password_hash:
    description: An argon2id hash instead of the password, for callers that must not know or keep the latter.
    type: str
  remove_password:
    description: Opens the IDE to everybody who reaches it.
    type: bool
    default: false
  generate_password:
    description: Makes a password up for a workspace that is made, and returns it once.
    type: bool
    default: false
  seats_csv:
    description: A seat sheet (mode 0600) whose row of this name is kept up to date and whose password is used.
    type: path
  must_exist:
    description: Fails with V(PROJECT_NOT_FOUND) where the workspace would otherwise be made, or is absent already.
    type: bool
    default: false
extends_documentation_fragment: [atelier, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: A workspace to prepare a workshop in
  workspace:
    site: "{{ atelier_site }}"
    name: base
    group: spring-school
    memory: 4g
    password: "{{ base_password }}"

- name: One with the files of a course
  workspace:
    site: "{{ atelier_site }}"
    name: course
    git_url: https://git.example.org/team/course.git
    git_token: "{{ vault_course_token }}"

- name: Stop it
  workspace:
    site: "{{ atelier_site }}"
    name: base
    state: stopped
"""

RETURN = r"""
summary:
  description: What became of it, in a sentence for people.
  returned: success
  type: str
  sample: base is running at http://3f1c9a0b77de.localhost/ and asks for a password.
workspace:
  description: The workspace as it is now, empty when there is none; C(password) only if it was made up in this run.
  returned: success
  type: dict
  sample:
    id: 3f1c9a0b77de
    name: base
    status: running
    error: null
    url: http://3f1c9a0b77de.localhost/
    address: 172.28.0.16
    template: empty
    group: spring-school
    memory: 4g
    cpus: "2"
    proxy_mode: none
    git_url: null
    repository:
      name: base
      full_name: developer/base
      clone_url: http://localhost/git/developer/base.git
      web_url: http://localhost/git/developer/base
      branch: main
    git_problem: null
    notes: ""
    password_protected: true
    cloned_from: null
    created_at: 2026-11-24T09:30:00.000Z
    password: null
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.atelier.ansible_module import argument_spec, own_options, run_on_platform
from ansible.module_utils.atelier.common.models import ProxyMode
from ansible.module_utils.atelier.containers.context import Platform
from ansible.module_utils.atelier.git.urls import check_git_access
from ansible.module_utils.atelier.workspaces.credentials_csv import SeatSheet
from ansible.module_utils.atelier.workspaces.plan import Desired, State
from ansible.module_utils.atelier.workspaces.service import ensure
from ansible.module_utils.atelier.workspaces.views import in_words
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **argument_spec(DOCUMENTATION),
            "proxy_mode": {"type": "str", "choices": [str(mode) for mode in ProxyMode]},
        },
        required_one_of=[("name", "id")],
        supports_check_mode=True,
    )
    if module.params["password"] is not None and module.params["remove_password"]:
        remedy = "Give one of them."
        module.fail_json(
            msg=f"password and remove_password exclude each other. {remedy}",
            error_code="VALIDATION_ERROR",
            details={"field": "remove_password", "remedy": remedy},
        )
    run_on_platform(module, lambda platform: _ensure(module, platform))


def _ensure(module: AnsibleModule, platform: Platform) -> dict[str, Any]:
    given = own_options(module)
    mode = given.pop("proxy_mode")
    state = State(given.pop("state"))
    csv = given.pop("seats_csv")
    sheet = SeatSheet(Path(csv), folder_to_be_made=platform.site.state_dir) if csv else None
    user, token = given.pop("git_username"), given.pop("git_token")
    desired = Desired(
        state=state,
        proxy_mode=ProxyMode(mode) if mode else None,
        git_access=check_git_access(user, token),
        sheet=sheet,
        **given,
    )
    outcome = ensure(platform, desired, check_mode=module.check_mode)
    for warning in outcome.warnings:
        module.warn(str(warning))
    return {
        "changed": outcome.changed,
        "diff": {"before": dict(outcome.before), "after": dict(outcome.after)},
        "summary": in_words(outcome.before, outcome.after),
        "workspace": {**outcome.after, "password": outcome.password} if outcome.after else {},
    }


if __name__ == "__main__":
    main()
