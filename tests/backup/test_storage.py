"""Repositories on other machines: by SFTP, and in an object storage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from .storages import S3_PORT, s3, sftp
from .workshop import Backups

pytestmark = pytest.mark.timeout(3000)


@pytest.mark.parametrize("storage", [sftp, s3])
def test_a_workshop_comes_back_from_another_machine(
    backups: Backups, tmp_path: Path, storage: Callable[[Path], AbstractContextManager[str]]
) -> None:
    seat = "Workshop 1"
    with storage(tmp_path) as repository:
        there = replace(backups, address=repository)
        backups.inside(backups.seat(seat), f"echo {storage.__name__} > /workspace/saved")
        before = backups.rows("workspaces")
        for took in (there.back_up(), there.back_up()):
            print(f"{storage.__name__}: {took:.1f} s")
        backups.inside(backups.seat(seat), "echo lost > /workspace/saved")
        print(f"restore from {storage.__name__}: {there.restore('--replace'):.1f} s")
        assert backups.inside(backups.seat(seat), "cat /workspace/saved").strip() == storage.__name__
        assert backups.rows("workspaces") == before


def test_a_storage_that_cannot_be_reached_is_named_in_time(backups: Backups) -> None:
    nobody = f"s3:http://127.0.0.1:{S3_PORT}/bucket"
    refused = backups.run("backup", nobody)
    assert refused.returncode != 0
    assert nobody in refused.stdout and "connection refused" in refused.stdout, refused.stdout[-2000:]
    unknown = "sftp:atelier-nobody-knows:/srv/backup"
    refused = backups.run("backup", unknown)
    assert refused.returncode != 0
    assert unknown in refused.stdout and "unable to start the sftp session" in refused.stdout, refused.stdout[-2000:]
