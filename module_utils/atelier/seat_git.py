"""What is done with git inside a seat, as its user: one script a time, so that a seat costs one call."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import AtelierError
from .model import Workspace
from .platform import Platform

_SAID = re.compile(r"^atelier: (\w+) (.+)$", re.MULTILINE)
_NOTE_LENGTH = 400
# Seconds for git's own work on the files, and for a push.
_COMMIT_SECONDS = 120
_PUSH_SECONDS = 60

# Whatever the seat's user made of git's settings: no hooks of his, no signing, no questions. A whole workshop commits
# at once, so git spends no time on making small what the archive makes small anyway.
_SAVE = """
set -u
branch=$1 name=$2 email=$3 message=$4 commit_seconds=$5 push_seconds=$6
export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS= GIT_EDITOR=true LC_ALL=C.UTF-8
say() { printf '\\natelier: %s %s\\n' "$1" "$2"; }
give_up() { say note "$1"; exit 0; }
plain() {
    timeout --kill-after=5 "$1" git -c core.hooksPath=/dev/null -c commit.gpgSign=false -c push.gpgSign=false \\
        -c core.looseCompression=0 -c pack.compression=1 -c pack.window=0 "${@:2}" 2>&1
}
cd /workspace || exit
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = /workspace ] || give_up 'Its /workspace is no git repository.'
here=$(git symbolic-ref --quiet --short HEAD) || give_up 'It is on no branch, perhaps in the middle of a rebase.'
[ -n "$branch" ] || say branch "$here"
[ -z "$(git ls-files --unmerged | head -c 1)" ] || give_up 'It is in the middle of a merge with conflicts.'
if [ -n "$(git --no-optional-locks status --porcelain | head -c 1)" ]; then
    who=()
    git config user.email >/dev/null || who=(-c "user.name=$name" -c "user.email=$email")
    said=$(plain "$commit_seconds" add --all) || give_up "Git would not take the files: $said"
    said=$(plain "$commit_seconds" "${who[@]}" commit --quiet --no-verify --message "$message") \\
        || give_up "Git would not commit: $said"
    say committed yes
fi
commit=$(git rev-parse --verify --quiet HEAD) || give_up 'There is no commit in it.'
say commit "$commit"
[ -n "$branch" ] || give_up 'It has no branch on the git server.'
said=$(plain "$push_seconds" push --quiet origin "HEAD:refs/heads/$branch") || give_up "It could not be pushed: $said"
say pushed yes
"""


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
    order = [
        *(workspace.branch or "", workspace.name, seat_email(platform, workspace)),
        *(f"Work of {workspace.name}, collected", str(_COMMIT_SECONDS), str(_PUSH_SECONDS)),
    ]
    try:
        code, output = platform.engine.execute(
            platform.site.container_name(workspace.id), ["bash", "-c", _SAVE, "save", *order]
        )
    except AtelierError as error:
        return Saved(note=f"Nothing was committed: {error.message}")
    return saved_from(code, output)


def seat_email(platform: Platform, workspace: Workspace) -> str:
    return f"{workspace.id}@seats.{platform.site.domain}"


def saved_from(code: int, output: str) -> Saved:
    """What the script said; a note may have several lines, which become one."""
    said = dict(_SAID.findall(output))
    if "note" in said:
        said["note"] = " ".join(output.rpartition("atelier: note ")[2].split())[:_NOTE_LENGTH]
    elif code != 0:
        said["note"] = f"Nothing was committed: {' '.join(output.split())[-_NOTE_LENGTH:]}"
    return Saved(
        branch=said.get("branch"),
        commit=said.get("commit"),
        committed="committed" in said,
        pushed="pushed" in said,
        note=said.get("note"),
    )
