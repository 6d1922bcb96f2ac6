"""docs/git.md says how to look into a participant's archive: done so, git runs nothing of the participant's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "git.md"
# Settings and hooks that run a program when git reads a repository's state.
HOSTILE = {"core.fsmonitor": "{}", "core.pager": "{}", "diff.external": "{}", "diff.trap.textconv": "{}"}


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The folder ``workspace`` of an archive whose git runs a program, which leaves a mark."""
    folder = tmp_path / "workspace"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    git(tmp_path, "init", "--quiet", str(folder))
    (folder / "work.txt").write_text("work\n")
    (folder / ".gitattributes").write_text("* diff=trap\n")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "--message=Work")
    for name, value in HOSTILE.items():
        git(folder, "config", name, value.format(trap))
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "post-commit"):
        (folder / ".git" / "hooks").mkdir(exist_ok=True)
        (folder / ".git" / "hooks" / hook).symlink_to(trap)
    (folder / "work.txt").write_text("more\n")
    return folder


def git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": "/nowhere"}
    run = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return run.stdout


def commands() -> list[list[str]]:
    """The document's commands of git in an unpacked archive."""
    text = " ".join(DOCUMENT.read_text().split())
    section = text[text.index("An archive holds a stranger's files") : text.index("Run nothing from it")]
    return [found.split()[1:] for found in re.findall(r"`(git [^`]*)`", section)]


def test_gits_own_words_would_run_the_participants_programs(unpacked: Path) -> None:
    git(unpacked, "status")
    assert (unpacked.parent / "ran").exists()


def test_the_documents_commands_run_nothing(unpacked: Path) -> None:
    clone, look = commands()
    git(unpacked.parent, *clone)
    assert "Work" in git(unpacked.parent / "copy", "log")
    assert "Work" in git(unpacked, *look)
    git(unpacked, *look[:-1], "status")
    git(unpacked, *look[:-1], "diff", "--no-ext-diff", "--no-textconv")
    assert not (unpacked.parent / "ran").exists()
