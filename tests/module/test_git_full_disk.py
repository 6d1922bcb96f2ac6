"""The embedded git service on a full disk: it refuses pushes, loses nothing, and resumes when there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code

from tests.module.git_client import commit, git
from tests.module.git_container import SEAT, Server, git_service, grant, heads, new_work
from tests.module.git_server import answers
from tests.module.installation import Installation
from tests.waiting import eventually

MIB = 1024**2
DISK = 64 * MIB


@pytest.fixture
def small_disk(site: Installation) -> Iterator[Server]:
    """A service whose data is on a separate disk."""
    data = site.state / "git" / "data"
    data.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", data], check=True)
    site.variables["atelier_image_prefix"] = "atelier"
    try:
        with git_service(site) as server:
            yield server
            subprocess.run(["umount", "--lazy", data], check=True)
    except BaseException:
        subprocess.run(["umount", "--lazy", data], check=False)
        raise


def test_a_full_disk_refuses_and_loses_nothing(small_disk: Server, tmp_path: Path) -> None:
    server = small_disk
    data, work = server.installation.state / "git" / "data", new_work(server, tmp_path / "work")
    seat = grant(server, SEAT, "clone/a")

    # It fills up in the middle of a push: what is sent, or what git makes of it, finds no room.
    for room in (8, 15):
        commit(work, "large.bin", os.urandom(10 * MIB))
        filler = fill(data, leave=room * MIB)
        before = heads(server)
        said = git(work, "push", server.url(seat), "HEAD:clone/a", fails=True)
        assert "507" in said or "No space left" in said or "disk is full" in said, said
        assert heads(server) == before
        eventually(lambda: not left(data), "nothing half-made is left")
        filler.unlink()
        git(work, "reset", "--quiet", "--hard", "HEAD~1")

    # Full to the last byte: what is there can be read, what can't be written says why, also after a restart.
    commit(work, "b.txt", b"b")
    filler = fill(data, leave=0)
    for _ in range(2):
        before = heads(server)
        said = git(work, "push", server.url(seat), "HEAD:clone/a", fails=True)
        assert "remote: The git server's disk is full." in said, said
        with pytest.raises(AtelierError) as error:
            server.forge.create_repository("more")
        assert error.value.code is Code.DISK_FULL
        assert heads(server) == before
        git(work, "fetch", "--quiet", server.url(seat), "main")
        server.container.restart(timeout=10)
        eventually(lambda: answers(server.forge), "the git service answers again")
    assert not left(data)

    filler.unlink()
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")
    assert heads(server)["clone/a"] == git(work, "rev-parse", "HEAD")
    server.forge.create_repository("more")


def left(data: Path) -> list[Path]:
    """The incomplete files of the server."""
    patterns = ("repositories/*/objects/tmp_*", "repositories/*/**/*.lock", "repositories/*/objects/pack/tmp_*")
    return [path for pattern in (*patterns, "incoming/*") for path in data.glob(pattern)]


def fill(folder: Path, leave: int) -> Path:
    disk = os.statvfs(folder)
    path = folder / "filler"
    with path.open("wb") as file:
        size = disk.f_bavail * disk.f_frsize - leave
        for _ in range(size // 65536):
            file.write(bytes(65536))
        if not leave:
            try:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            except OSError:
                pass
    return path
