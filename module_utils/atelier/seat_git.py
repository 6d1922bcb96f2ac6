"""What is done with git inside a seat, as its user: one script a time, so that a seat costs one call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import AtelierError
from .model import Workspace
from .plain import first_of, last_of, on_one_line
from .platform import Platform

_SAID = re.compile(r"^atelier: (\w+) (.+)$", re.MULTILINE)
_NOTE_LENGTH = 400
# The seat's user may write what the script would say. Git's names of branches are files, and so no longer than this.
_BRANCH_LENGTH = 255
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# Seconds for git's own work on the files, and for a push.
_COMMIT_SECONDS = 90
_PUSH_SECONDS = 45
# For all of it. The script gives each program less; this holds also where the seat's user stops them.
_SECONDS = 150
SCRIPT = Path(__file__).with_name("save_work.sh")


@dataclass(frozen=True)
class Saved:
    """What became of a seat's uncommitted work; ``note`` says why it was not committed or pushed."""

    branch: str | None = None
    commit: str | None = None
    committed: bool = False
    pushed: bool = False
    note: str | None = None


def save_work(platform: Platform, workspace: Workspace) -> Saved:
    """Commits what a running seat has not committed, on the branch that it is on, and pushes to the seat's own. Never
    raises for what git says: the files are there in any case."""
    git, repository = platform.site.git, workspace.repository
    order = [
        *(workspace.branch or "", workspace.name, seat_email(platform, workspace)),
        *(f"Work of {workspace.name}, collected", str(_COMMIT_SECONDS), str(_PUSH_SECONDS)),
        git.seat_url(repository) if git and repository else "",
    ]
    try:
        code, output = platform.engine.execute(
            platform.site.container_name(workspace.id),
            ["/bin/bash", "-c", SCRIPT.read_text(), "save", *order],
            seconds=_SECONDS,
        )
    except AtelierError as error:
        return Saved(note=f"Nothing was committed: {error.message}")
    return saved_from(code, output)


def seat_email(platform: Platform, workspace: Workspace) -> str:
    """An address for the seat's commits, which other seats fetch: without its id."""
    return f"{platform.site.public_name(workspace.id)}@seats.{platform.site.domain}"


def saved_from(code: int, output: str) -> Saved:
    """What the script said; a note may have several lines, which become one."""
    said = dict(_SAID.findall(output))
    branch, commit = said.get("branch"), said.get("commit", "")
    if "note" in said:
        said["note"] = first_of(on_one_line(output.rpartition("atelier: note ")[2]), _NOTE_LENGTH)
    elif code != 0:
        said["note"] = f"Nothing was committed: {last_of(on_one_line(output), _NOTE_LENGTH)}"
    return Saved(
        branch=branch and first_of(branch, _BRANCH_LENGTH),
        commit=commit if _COMMIT.fullmatch(commit) else None,
        committed="committed" in said,
        pushed="pushed" in said,
        note=said.get("note"),
    )
