"""What the API shows of a workspace, by what Docker's events told so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest
from atelier.model import Status
from support import container, open_registry, row, site

from api.watcher import Watcher, status_seen


@pytest.mark.parametrize(
    ("status", "docker", "gone", "shown"),
    [
        (Status.RUNNING, "running", False, Status.RUNNING),
        # The row says already what the events, which come late, have yet to tell.
        (Status.RUNNING, "created", False, Status.RUNNING),
        (Status.RUNNING, None, False, Status.RUNNING),
        (Status.RUNNING, None, True, Status.ERROR),
        (Status.RUNNING, "exited", False, Status.STOPPED),
        (Status.CREATING, "created", False, Status.CREATING),
        (Status.STOPPED, "created", False, Status.STOPPED),
        (Status.STOPPED, None, True, Status.ERROR),
    ],
)
def test_what_is_shown(status: Status, docker: str | None, gone: bool, shown: Status) -> None:
    workspace = row(status=status)
    seen = container(docker) if docker else None
    assert status_seen(workspace, seen, {workspace.id} if gone else set())[0] is shown


def test_a_container_that_docker_started_again_runs() -> None:
    """Also when it was seen in between, as after the death of its first process or its shim."""
    seen_between = row(status=Status.RUNNING)
    status, error = status_seen(seen_between, container("restarting"), set())
    assert status is Status.ERROR
    assert status_seen(row(status=status, error=error), container("running"), set()) == (Status.RUNNING, None)
    # Any other error is for a person to look at.
    broken = row(status=Status.ERROR, error="Its IDE did not answer.")
    assert status_seen(broken, container("running"), set())[0] is Status.ERROR


def test_programs_that_the_kernel_ends_cost_no_look(tmp_path: Path) -> None:
    """A seat may have the kernel end hundreds a second: each look would ask Docker, and renew all open pages."""
    made, id = site(tmp_path), "0123456789ab"
    named = {"atelier.workspace": id, "name": made.container_name(id)}
    actions = [*["oom"] * 500, "exec_create: /bin/true", "die"]
    asked: list[str] = []

    class Docker:
        def events(self, **filters: Any) -> list[dict[str, Any]]:
            past = "since" in filters
            return [] if past else [{"Action": action, "Actor": {"ID": "c", "Attributes": named}} for action in actions]

        def containers(self, **filters: Any) -> list[dict[str, Any]]:
            return []

        def inspect_container(self, id: str) -> dict[str, Any]:
            asked.append(id)
            raise docker.errors.NotFound("gone")

    with open_registry(tmp_path) as registry:
        watcher, api = Watcher(made, registry), Docker()
        with pytest.raises(OSError, match="ended"):
            watcher._follow_with(api)  # type: ignore[arg-type]
    assert asked == ["c"]
    assert watcher.version == 2
