"""An installation of an older version, made by that version's own front door from this repository's history."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.installed import ROOT, Installation, purge


def checked_out(commit: str, folder: Path) -> Path:
    """That commit's files in a folder of their own, without git."""
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
    file = folder / "variables.json"
    file.write_text(
        json.dumps(
            {
                "atelier_instance": atelier_instance,
                "atelier_image_prefix": atelier_instance,
                "atelier_state_dir": str(folder / "state"),
                "workshop_base": "Workshop",
                "workshop_csv": str(folder / "seats.csv"),
                **variables,
            }
        )
    )
    try:
        made = subprocess.run(
            [str(checkout / "atelier"), "up", "-e", f"@{file}"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
        yield Installation(file, made.stdout)
    finally:
        purge(atelier_instance, file, folder / "state")
