#!/usr/bin/python
"""Ansible module: archives of what workspaces hold."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_archive
short_description: Commits, pushes and archives the work in workspaces, checks that this was done, and removes them
version_added: "0.1.0"
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, argon2-cffi, backports.zstd (before Python 3.14), docker]
description:
  - Of each workspace, running or not, the whole of C(/workspace) goes into one archive (tar, compressed with zstd) with
    all that is in it, the git repository included. Only sockets can't be archived.
  - Before that, what a running workspace has not committed is committed there, by its user, on the branch that it is
    on, and pushed to the workspace's own branch if it has one on the git server. A workspace that does not run is not
    started for it.
  - An archive is read again before it counts; C(manifest.json) beside them names all with size, SHA-256, commit, and
    what could not be done. A workspace that fails fails alone.
  - The limits of the installation (C(site.archive)) hold for each archive by itself. A workspace beyond one of them
    fails, and its entry names the limit.
  - Running it again takes archives anew; an older one goes when the newer one is complete. That of a container which
    the seat had before it was reset or made again stays.
options:
  state:
    description:
      - V(collected) takes the archives.
      - V(verified) changes nothing, and fails with V(NOT_COLLECTED) unless the manifest names each of the workspaces
        with an archive that has the size and SHA-256 it says, and none of them holds work that is newer.
      - V(removed) removes the workspaces. Each is paused, compared with its archive, and removed while nothing can
        change in it. One that holds newer work continues as it was; the others are removed, then the module fails with
        V(NOT_COLLECTED). A workspace that does not exist is ignored.
    type: str
    choices: [collected, verified, removed]
    default: collected
  ids:
    description: The workspaces.
    type: list
    elements: str
    required: true
  folder:
    description: Where the archives and their manifest are, or are to be. It is made, readable by its owner only.
    type: path
    required: true
  ready_timeout:
    description: Seconds to wait for a workspace that is in use, above one minute.
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: What the workshop has come to
  workspace_archive:
    site: "{{ atelier_site }}"
    ids: "{{ seats.workspaces | map(attribute='id') | list }}"
    folder: /srv/archives/spring-2027
"""

RETURN = r"""
summary:
  description: What became of it, in a sentence for people.
  returned: success
  type: str
  sample: 20 workspaces are collected in /srv/archives/spring-2027 (31.4 MB).
seats:
  description: The manifest's entries of the workspaces.
  returned: success, unless they are removed
  type: list
  elements: dict
  sample:
    - id: 3f1c9a0b77de
      name: base 1
      state: running
      collected_at: 2026-11-24T09:30:00.000Z
      container: 4c01db0b339c87dd80b2a8a2f5d6e7a2c1a0a3c5f4be0c7a9c3f7f7f0b0e6d1c
      file: base-1_3f1c9a0b77de_9f86d081884c.tar.zst
      former: []
      bytes: 1048576
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      content_bytes: 10485760
      entries: 214
      repository: base
      branch: clone/base-1
      commit: 4b825dc642cb6eb9a060e54bf8d69288fbee4904
      committed: true
      pushed: true
      note: null
      error: null
failed_seats:
  description: Names of the workspaces that could not be collected.
  returned: success, unless they are removed
  type: list
  elements: str
manifest:
  description: The manifest's path.
  returned: success
  type: path
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.atelier.ansible_module import argument_spec, run_on_platform
from ansible.module_utils.atelier.containers.context import Platform
from ansible.module_utils.atelier.workshop.collect import collect, verify
from ansible.module_utils.atelier.workshop.manifest import NAME
from ansible.module_utils.atelier.workshop.removal import remove_collected
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(DOCUMENTATION),
        supports_check_mode=True,
    )
    run_on_platform(module, lambda platform: _archive(module, platform))


def _archive(module: AnsibleModule, platform: Platform) -> dict[str, Any]:
    ids, folder = module.params["ids"], Path(module.params["folder"])
    if module.params["state"] == "removed":
        return _remove(module, platform, ids, folder)
    if module.params["state"] == "verified":
        done = verify(platform, ids, folder)
    else:
        done = collect(platform, ids, folder, check_mode=module.check_mode)
    for trace in done.tracebacks:
        module.warn(trace)
    failed = [seat.name for seat in done.seats if seat.error is not None]
    megabytes = sum(seat.bytes for seat in done.seats) / 1e6
    return {
        "changed": done.changed,
        "summary": f"{len(done.seats) - len(failed)} workspaces are collected in {folder} ({megabytes:.1f} MB).",
        "seats": [asdict(seat) for seat in done.seats],
        "failed_seats": failed,
        "manifest": str(folder / NAME),
    }


def _remove(module: AnsibleModule, platform: Platform, ids: list[str], folder: Path) -> dict[str, Any]:
    removed = remove_collected(platform, ids, folder, check_mode=module.check_mode)
    for problem in removed.problems:
        module.warn(problem)
    return {
        "changed": removed.changed,
        "summary": f"{len(removed.names)} workspaces are removed; their work is in {folder}.",
        "manifest": str(folder / NAME),
    }


if __name__ == "__main__":
    main()
