#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_archive
short_description: Commit, push and archive the work in workspaces, verify the archives, and remove the workspaces
version_added: "0.1.0"
requirements: [argon2-cffi, backports.zstd (before Python 3.14)]
description:
  - Archives the whole C(/workspace) of each workspace, running or not, including the git repository (tar, compressed
    with zstd). Only sockets cannot be archived.
  - Before that, uncommitted changes of a running workspace are committed as its user to the current branch, and pushed
    to the workspace's own branch on the git server, if it has one. Stopped workspaces are not started.
  - Each archive is verified. C(manifest.json) in the same folder lists all with size, SHA-256, commit and errors.
    Workspaces fail independently.
  - The limits of the installation (C(site.archive)) apply to each archive. A workspace beyond a limit fails, and its
    entry names the limit.
  - Another run replaces older archives when the newer ones are complete. Archives of containers that were replaced by
    a reset or re-creation stay.
options:
  state:
    description:
      - V(collected) takes the archives.
      - V(verified) changes nothing, and fails with V(NOT_COLLECTED) unless the manifest has an archive with matching
        size and SHA-256 for each workspace, and none of them has newer changes.
      - V(removed) removes the workspaces. Each is paused, compared with its archive, and removed while paused. A
        workspace with newer changes continues; the others are removed, then the module fails with V(NOT_COLLECTED). A
        workspace that does not exist is ignored.
    type: str
    choices: [collected, verified, removed]
    default: collected
  ids:
    description: The workspaces.
    type: list
    elements: str
    required: true
  folder:
    description: Folder of the archives and their manifest. Created if missing, readable by its owner only.
    type: path
    required: true
extends_documentation_fragment: [atelier, atelier.check]
"""

EXAMPLES = r"""
- name: What the workshop has come to
  workspace_archive:
    ids: "{{ seats.workspaces | map(attribute='id') | list }}"
    folder: /srv/archives/spring-2027
"""

RETURN = r"""
summary:
  description: The result, as a sentence.
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

from ansible.module_utils.atelier.ansible_module import AnsibleModule, Context, Result, with_context
from ansible.module_utils.atelier.workshop.collect import collect, remove_collected, verify
from ansible.module_utils.atelier.workshop.manifest import NAME


@with_context(DOCUMENTATION)
def main(module: AnsibleModule, context: Context) -> Result:
    ids, folder, state = module.params["ids"], Path(module.params["folder"]), module.params["state"]
    if state == "removed":
        names, problems = remove_collected(context, ids, folder, check_mode=module.check_mode)
        for problem in problems:
            module.warn(problem)
        summary = f"{len(names)} workspaces are removed; their work is in {folder}."
        return {"changed": bool(names), "summary": summary, "manifest": str(folder / NAME)}
    verified = state == "verified"
    done = verify(context, ids, folder) if verified else collect(context, ids, folder, check_mode=module.check_mode)
    failed = [seat.name for seat in done.seats if seat.error is not None]
    megabytes = sum(seat.bytes for seat in done.seats) / 1e6
    return {
        "changed": done.changed,
        "summary": f"{len(done.seats) - len(failed)} workspaces are collected in {folder} ({megabytes:.1f} MB).",
        "seats": [asdict(seat) for seat in done.seats],
        "failed_seats": failed,
        "manifest": str(folder / NAME),
    }


if __name__ == "__main__":
    main()
