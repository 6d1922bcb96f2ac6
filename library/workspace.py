#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace
short_description: Create, start, stop or remove a workspace
version_added: "0.1.0"
requirements: [argon2-cffi]
description:
  - A workspace is a browser IDE (code-server) in a container, with a permanent address and a route through the gateway.
  - The module waits until the IDE answers HTTP. If it does not, the module fails and keeps the container for debugging.
  - Memory and CPUs change without a restart of the container.
options:
  state:
    description:
      - V(present) creates and starts a missing workspace; an existing one stays running or stopped.
      - V(started) and V(stopped) also create a missing workspace.
      - V(absent) removes container, route and database row. Its files are lost.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  name:
    description:
      - 3 to 50 letters, digits, hyphens or underscores; names of clones can contain spaces.
      - With O(id) given too, the workspace is renamed to this.
    type: str
  id:
    description: The workspace's id. Takes precedence over O(name) to find it.
    type: str
  template:
    description:
      - The template to create it from, V(empty) if not given. An existing workspace keeps its template.
      - If the template's image is missing, it is built first, which takes minutes. Runs that need the same image at the
        same time build it once.
    type: str
  group:
    description: A label to find workspaces by, 1 to 50 letters, digits, spaces, hyphens or underscores.
    type: str
  memory:
    description: Memory limit, V(2g) if not given.
    type: str
  cpus:
    description: CPU limit in cores, V(2) if not given. On a smaller machine the container gets all cores.
    type: str
  proxy_mode:
    description:
      - Network access, V(none) (unrestricted) if not given. Cannot be changed later.
      - One of the modes in the table of C(egress_modes.py), such as V(logging) or V(security). Others are refused.
    type: str
  git_url:
    description:
      - Address of a repository, http or https, to use instead of the template's files. Cannot be changed later.
      - It must not contain credentials or lead to this machine. It is cloned in the seat, without submodules.
      - If git fails, the workspace is in state V(error), with git's message; its container is kept.
    type: str
  git_username:
    description: The user name for O(git_token), V(git) if not given.
    type: str
  git_token:
    description: A token or password for the repository. Used once and never stored.
    type: str
  git_timeout:
    description: Maximum seconds for git.
    type: float
    default: 300
  git_repo:
    description:
      - Create a repository on the git server, named after the workspace, to which the seat pushes C(/workspace) as
        C(main). Each clone then gets a branch in it.
      - If there is no git server or it fails, the workspace is created anyway; a warning and C(git_problem) give
        the reason. Run it again to retry.
      - The repository is kept when the workspace is removed.
    type: bool
    default: false
  notes:
    description: Free text, at most 10240 bytes.
    type: str
  password:
    description: The IDE's password, 8 to 50 characters. Only its argon2id hash is stored.
    type: str
  password_hash:
    description: An argon2id hash instead of O(password), for callers that do not have the password.
    type: str
  remove_password:
    description: Remove the password, so that the IDE is open to everybody who can reach it.
    type: bool
    default: false
  generate_password:
    description: Generate a password for a new workspace, and return it once.
    type: bool
    default: false
  stop_reason:
    description:
      - Why it is stopped, with O(state=stopped). By default, one that was V(idle) starts again when somebody opens its
        address (C(atelier_wake_on_visit)).
    type: str
    choices: [idle, end, disk, person]
    default: person
  seats_csv:
    description: A CSV file (mode 0600) with a row for this name, which is kept up to date and whose password is used.
    type: path
  must_exist:
    description:
      - Fail with V(PROJECT_NOT_FOUND) if the workspace does not exist.
      - If its container is gone, only O(state=started) makes another from the template.
    type: bool
    default: false
extends_documentation_fragment: [atelier, atelier.nodes, atelier.check_and_diff]
"""

EXAMPLES = r"""
- name: A workspace to prepare a workshop in
  workspace:
    name: base
    group: spring-school
    memory: 4g
    password: "{{ base_password }}"

- name: One with the files of a course
  workspace:
    name: course
    git_url: https://git.example.org/team/course.git
    git_token: "{{ vault_course_token }}"

- name: Stop it
  workspace:
    name: base
    state: stopped
"""

RETURN = r"""
summary:
  description: The result, as a sentence.
  returned: success
  type: str
  sample: base is running at http://3f1c9a0b77de.localhost/ and asks for a password.
workspace:
  description: The workspace's present state, empty if there is none; C(password) only if this run generated it.
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

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, own_options, with_context
from ansible.module_utils.atelier.common.errors import invalid
from ansible.module_utils.atelier.common.models import StopReason
from ansible.module_utils.atelier.git.urls import check_git_access
from ansible.module_utils.atelier.workspaces.credentials_csv import CredentialsCsv
from ansible.module_utils.atelier.workspaces.plan import WorkspaceSpec, WorkspaceState
from ansible.module_utils.atelier.workspaces.service import ensure
from ansible.module_utils.atelier.workspaces.views import change_summary


@with_context(DOCUMENTATION, required_one_of=[("name", "id")], mutually_exclusive=[("password", "password_hash")])
def main(module: AnsibleModule, context: Context) -> Result:
    given = own_options(module)
    if given["password"] is not None and given["remove_password"]:
        raise invalid("input.at_most_one", "remove_password", names="password, remove_password")
    csv, user, token = (given.pop(name) for name in ("seats_csv", "git_username", "git_token"))
    given |= {
        "state": WorkspaceState(given["state"]),
        "stop_reason": StopReason(given["stop_reason"]),
        "git_access": check_git_access(user, token),
        "sheet": CredentialsCsv(Path(csv), folder_to_be_made=context.site.state_dir) if csv else None,
    }
    desired = WorkspaceSpec(**given)
    outcome = ensure(context, desired, check_mode=module.check_mode)
    for warning in outcome.warnings:
        module.warn(str(warning))
    return {
        **outcome.view(),
        "summary": change_summary(outcome.before, outcome.after),
        "workspace": {**outcome.after, "password": outcome.password} if outcome.after else {},
    }


if __name__ == "__main__":
    main()
