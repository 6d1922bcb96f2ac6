"""An IDE that does not start: the module fails with the log, and keeps the container for debugging."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest

from tests.module.installation import Installation, is_healthy

READY_SECONDS = 3


@pytest.fixture
def broken(site: Installation, small: str) -> Iterator[None]:
    """Two templates: one whose IDE never answers, one whose entry ends at once."""
    lines = {
        "mute": 'ENTRYPOINT ["sh", "-c", "echo mute-ide-was-here >&2; exec sleep 1000"]',
        "crash": 'ENTRYPOINT ["sh", "-c", "echo crash-ide-was-here >&2; exit 3"]',
    }
    for name, line in lines.items():
        dockerfile = io.BytesIO(f"FROM atelier-test/workspace:{small}\n{line}\n".encode())
        site.docker.images.build(fileobj=dockerfile, tag=f"atelier-test/workspace:{name}", rm=True)
    yield
    site.remove()
    for name in lines:
        site.docker.images.remove(f"atelier-test/workspace:{name}", force=True)


def test_one_that_never_answers(site: Installation, broken: None) -> None:
    begin = time.monotonic()
    run = site.play(
        "workspace_create", workspace_name="Base", workspace_template="mute", atelier_ready_timeout=READY_SECONDS
    )
    took = time.monotonic() - begin
    assert run.returncode != 0
    assert run.result["error_code"] == "IDE_NOT_READY"
    assert f"within {READY_SECONDS} seconds" in run.result["msg"]
    assert "mute-ide-was-here" in run.result["msg"]
    assert "The container is kept" in run.result["msg"]
    assert took >= READY_SECONDS
    row = site.row("Base")
    assert row["status"] == "error"
    assert site.container(row).status == "running"
    (seen,) = site.task("workspace_info").succeeded().result["workspaces"]
    assert seen["status"] == "error"
    assert f"within {READY_SECONDS} seconds" in seen["error"]
    # Present tries it once more; deleting takes it away.
    again = site.play("workspace_create", workspace_name="Base", atelier_ready_timeout=1)
    assert again.result["error_code"] == "IDE_NOT_READY"
    site.play("workspace_delete", workspace_name="Base").succeeded()
    site.is_tidy([])


def test_one_that_ends_is_not_waited_for(site: Installation, broken: None) -> None:
    begin = time.monotonic()
    run = site.play("workspace_create", workspace_name="Base", workspace_template="crash", atelier_ready_timeout=300)
    assert time.monotonic() - begin < 200
    assert run.result["error_code"] == "IDE_NOT_READY"
    assert "crash-ide-was-here" in run.result["msg"]
    assert site.row("Base")["status"] == "error"


def test_seats_that_do_not_come_up(site: Installation, small: str) -> None:
    """The source came up once and was broken since: each seat is kept as an error, and the source is unharmed."""
    made = site.create(template=small)
    script = "echo 'sleep 1000;' > /server.pl"  # the running one was read long ago
    assert site.container(made).exec_run(["sh", "-c", script], user="root").exit_code == 0
    run = site.play("workspace_clone", clone_source="Base", clone_count=2, atelier_ready_timeout=READY_SECONDS)
    assert run.returncode != 0
    assert run.result["error_code"] == "IDE_NOT_READY"
    assert [row["status"] for row in site.rows()] == ["running", "error", "error"]
    assert len(site.containers()) == 3
    assert is_healthy(made["address"])
    assert site.snapshot_tags() == []
