"""Git operations inside a seat, as its user: one script each, so that a seat costs one call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError
from ..common.messages import Message, chain
from ..common.models import Workspace
from ..common.plain_text import first_of, last_of, on_one_line
from .context import Context, NodeContext

_SAID = re.compile(r"^atelier: (\w+) (.+)$", re.MULTILINE)
_NOTE = re.compile(r"^atelier: note (\w+) ?(.*)$", re.MULTILINE)
_CAUSE = re.compile(r"(?:|.*\s)atelier: (old_image|nothing_in_it|files_there)", re.DOTALL)
_TIMED_OUT = 124  # timeout(1)
# The script's notes: for each code the message, and the parameter that the rest of the line is.
_NOTES = {
    **dict.fromkeys(("no_git", "git_broken", "git_broken_unpushed", "on_no_branch", "no_commit", "no_branch")),
    **dict.fromkeys(("no_git_server", "midway_rebase", "midway_merge")),
    **dict.fromkeys(("not_all_files", "not_committable", "not_pushed"), "said"),
    "behind": "commit",
}
_NOTE_LENGTH = 400
_MOST_NOTES = 4
# The seat's user may forge the script's output. Branch names are file names for git, so at most this long.
_BRANCH_LENGTH = 255
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# Seconds for git's own work on the files, and for a push.
_COMMIT_SECONDS = 90
_PUSH_SECONDS = 45
# Total timeout. The script has a shorter one per program, but the seat's user could stop those.
_SECONDS = 150
SCRIPT = Path(__file__).parent / "scripts" / "commit_and_push.sh"


@dataclass(frozen=True)
class Saved:
    """The result for a seat's uncommitted work; ``note`` says why it was not committed or pushed."""

    branch: str | None = None
    commit: str | None = None
    committed: bool = False
    pushed: bool = False
    note: Message | None = None


def save_work(context: NodeContext, workspace: Workspace) -> Saved:
    """Commits a running seat's uncommitted work on its current branch, and pushes it to the seat's own branch. Never
    raises for errors of git: the files are kept in any case."""
    git, repository = context.site.git, workspace.repository
    order = [
        *(workspace.branch or "", workspace.name, seat_email(context, workspace)),
        *(f"Work of {workspace.name}, collected", str(_COMMIT_SECONDS), str(_PUSH_SECONDS)),
        git.seat_url(repository) if git and repository else "",
    ]
    command = ["/bin/bash", "-c", SCRIPT.read_text(), "save", *order]
    try:
        code, output = context.engine.execute(context.site.container_name(workspace.id), command, seconds=_SECONDS)
    except AtelierError as error:
        return Saved(note=Message("not_committed", said=error.message))
    return saved_from(code, output)


def seat_email(context: Context, workspace: Workspace) -> str:
    """An address for the seat's commits, which other seats fetch: without its id."""
    return f"{context.site.public_name(workspace.id)}@seats.{context.site.domain}"


def cause(said: str, code: int, seconds: float) -> str:
    """The reason for a script's exit code in a seat: the code that the script printed, otherwise the output of its
    programs."""
    found = _CAUSE.fullmatch(said)
    if found:
        return Message(found[1])
    return Message("took_longer", seconds=seconds, said=said) if code == _TIMED_OUT else said


def saved_from(code: int, output: str) -> Saved:
    """Parses the script's output."""
    said = dict(_SAID.findall(output))
    branch, commit = said.get("branch"), said.get("commit", "")
    notes = [_note(id, text) for id, text in _NOTE.findall(output)[-_MOST_NOTES:] if id in _NOTES]
    if not notes and code != 0:
        notes = [Message("not_committed", said=last_of(on_one_line(output), _NOTE_LENGTH))]
    return Saved(
        branch=branch and first_of(branch, _BRANCH_LENGTH),
        commit=commit if _COMMIT.fullmatch(commit) else None,
        committed="committed" in said,
        pushed="pushed" in said,
        note=chain("sentences", notes) if notes else None,
    )


def _note(id: str, text: str) -> Message:
    name = _NOTES[id]
    return Message(id, **({name: first_of(on_one_line(text), _NOTE_LENGTH)} if name else {}))
