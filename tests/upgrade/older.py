"""An installation of an older version, made by that version's own front door from this repository's history."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.installed import ROOT, Installation, front_door, purge, variables_file

# The last commit of each release before the present one, oldest first.
RELEASES = {"0.1.0": "783bbea", "0.2.0": "4c41c3c"}


def checked_out(commit: str, folder: Path) -> Path:
    """Writes that commit's files into a separate folder, without git."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    found = subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True, check=False)
    assert found.returncode == 0, (
        f"This checkout's history does not have the commit {commit}, from which the upgrade begins. In a shallow clone,"
        " run git fetch --unshallow; a checkout without git cannot run these tests."
    )
    archive = subprocess.run([*git, "archive", "--format=tar", commit], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


@contextmanager
def installed_by(checkout: Path, folder: Path, atelier_instance: str, **variables: Any) -> Iterator[Installation]:
    """An installation that the checkout's `up` makes, purged by the present one at the end."""
    file = variables_file(folder, atelier_instance, variables)
    try:
        made = front_door("up", "-e", f"@{file}", checkout=checkout)
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
        yield Installation(file, made.stdout)
    finally:
        purge(atelier_instance, file, folder / "state")
