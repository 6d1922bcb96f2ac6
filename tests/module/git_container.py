"""The embedded git service as its role runs it, for tests: its container, its client, and how git reaches it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.common.models import GitServer
from atelier.git.client import Forge
from atelier.git.http import read_credentials
from atelier.git.urls import GitAccess

from tests.module.git_client import commit, git, new_repository, relay
from tests.module.installation import Installation

# The largest push that it takes, in bytes.
LIMIT = 12 * 1024**2
IDLE_SECONDS = 60  # how long the service waits for a sender
SEAT, OTHER, TEACHER = "0123456789ab", "0123456789ac", "0123456789ad"


@dataclass
class Server:
    """The running service, its client as the owner, and how git reaches it."""

    installation: Installation
    git: GitServer
    forge: Forge
    address: str

    def url(self, credential: GitAccess | None, repository: str = "app") -> str:
        login = f"{credential.user}:{credential.token}@" if credential else ""
        return f"http://{login}{self.address}/developer/{repository}.git"

    @property
    def container(self) -> Any:
        return self.installation.docker.containers.get(f"{self.installation.name}-git")

    def fresh(self, name: str) -> None:
        """An empty repository."""
        self.forge.delete_repository(name)
        self.forge.create_repository(name)


@contextmanager
def git_service(installation: Installation) -> Iterator[Server]:
    """Made by its role for the block; the installation is removed with it."""
    playbook = installation.folder / "git.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "roles": ["git_service"]}]))
    installation.play(playbook).succeeded()
    state = installation.state
    found = GitServer(
        "embedded",
        "developer",
        state / "gateway" / "git" / "http.sock",
        state / "git" / "credentials.json",
        3000,
        "http://localhost/git",
    )
    with relay(found.socket) as address:
        yield Server(installation, found, Forge(found, read_credentials(found)), address)
    installation.remove()


def new_work(server: Server, folder: Path) -> Path:
    """A working copy whose main was pushed to a fresh repository ``app``, by the base's seat."""
    server.fresh("app")
    new_repository(folder)
    commit(folder, "a.txt", "a\n")
    teacher = server.forge.grant_seat("app", TEACHER, "main")
    git(folder, "push", "--quiet", server.url(teacher), "main")
    return folder


def grant(server: Server, workspace_id: str, branch: str) -> GitAccess:
    credential = server.forge.grant_seat("app", workspace_id, branch)
    server.forge.ensure_branch("app", branch)
    return credential


def heads(server: Server) -> dict[str, str]:
    return server.forge.branches("app")
