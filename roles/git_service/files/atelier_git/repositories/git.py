"""The repositories on disk. Folder names are random and stored in the database: none comes from a request."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .bounded import run_bounded

HOOKS = Path(__file__).parents[2] / "hooks"
# Held while this service changes a reference, and while it removes stale lock files.
REFERENCES = threading.Lock()
# Where git stores pushed objects: many in a pack, or single ones.
_WORK = ("objects/pack/*.pack", "objects/[0-9a-f][0-9a-f]/*")
# Our own commands on one repository take milliseconds, and Atelier waits 20 seconds for an answer.
_SECONDS = 15
# Maximum output of a command, enough for the names of all branches.
_MOST_OUTPUT = 32 * 1024**2
_SHOWN_ERROR = 300
# Without commit contents: their authors control them, at any length, and no client reads them.
_FORMAT = "%(refname:lstrip=2)%00%(objectname)"


class GitError(Exception):
    """git's own words."""


@dataclass(frozen=True)
class Branch:
    name: str
    commit: str


def environment(more: Sequence[tuple[str, str]] = (), **variables: str) -> dict[str, str]:
    """The environment of every git process: only our configuration and that of the repository, which we wrote; only our
    hooks."""
    configuration = [
        ("core.hooksPath", str(HOOKS)),
        ("safe.directory", "*"),
        ("http.receivepack", "true"),
        ("http.getanyfile", "false"),
        ("receive.denyNonFastForwards", "true"),
        ("receive.denyDeletes", "true"),
        # Keep pushed packs as they are: unpacking and recompressing takes most of a large push's time.
        ("receive.unpackLimit", "1"),
        ("transfer.fsckObjects", "true"),
        # A push that was answered survives a power cut.
        ("core.fsync", "committed,reference"),
        # Large files are seldom alike, and each comparison of two takes seconds. They are not held in memory either.
        ("core.bigFileThreshold", "2m"),
        # A git may have so much memory only (``bounded.limited``), in which packs are mapped as well.
        ("core.packedGitWindowSize", "32m"),
        ("core.packedGitLimit", "256m"),
        ("core.deltaBaseCacheLimit", "64m"),
        ("pack.deltaCacheSize", "64m"),
        # All seats of a workshop push to one repository: at the usual 50 it would be packed again and again.
        ("gc.autoPackLimit", "200"),
        ("pack.threads", "1"),
        ("pack.windowMemory", "64m"),
        *more,
    ]
    found = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(configuration)),
    }
    for number, (key, value) in enumerate(configuration):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found | variables


def create(root: Path, default_branch: str) -> str:
    """An empty bare repository; returns its folder's name."""
    folder = f"{secrets.token_hex(16)}.git"
    try:
        _initialise(root / folder, default_branch)
    except BaseException:
        remove(root, folder)
        raise
    return folder


def _initialise(folder: Path, default_branch: str) -> None:
    _git(["init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}", str(folder)])


def make_whole(folder: Path, default_branch: str) -> bool:
    """Whether the repository is empty. One that was made in the database, but whose files were lost with the power, is
    made again."""
    try:
        return is_empty(folder)
    except GitError:
        if any(path for pattern in _WORK for path in folder.glob(pattern)):
            raise  # somebody's work is in it
        shutil.rmtree(folder, ignore_errors=True)
        _initialise(folder, default_branch)
        return True


def remove(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder, ignore_errors=True)


def remove_unknown(root: Path, known: set[str]) -> None:
    """Folders without a row: a crash came between the two."""
    for path in root.glob("*.git"):
        if path.name not in known:
            remove(root, path.name)


def branches(folder: Path, pattern: str = "") -> list[Branch]:
    """All of them, or those that fit one of git-for-each-ref(1)'s patterns."""
    output = _git(["for-each-ref", f"--format={_FORMAT}", f"refs/heads/{pattern}"], folder)
    # Not splitlines(): a name may contain characters that Python, but not git, treats as line ends.
    return [Branch(*line.split("\0", 1)) for line in output.split("\n")[:-1]]


def branch(folder: Path, name: str) -> Branch | None:
    """The one of that name, which must be one that a branch may have: others are patterns."""
    return next((found for found in branches(folder, name) if found.name == name), None)


def in_the_way(folder: Path, name: str) -> str | None:
    """An existing branch that conflicts with this name, or None: git cannot keep both ``a`` and ``a/b``."""
    parts = name.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    found = next((other for other in above if branch(folder, other)), None)
    return found or next((below.name for below in branches(folder, f"{name}/")), None)


def create_branch(folder: Path, branch: str, commit: str) -> None:
    """Raises GitError when it is there, or when another branch is in its way."""
    # An empty old value: create it only if it does not exist.
    with REFERENCES:
        _git(["update-ref", f"refs/heads/{branch}", commit, ""], folder)


def set_default_branch(folder: Path, branch: str) -> None:
    with REFERENCES:
        _git(["symbolic-ref", "HEAD", f"refs/heads/{branch}"], folder)


def is_empty(folder: Path) -> bool:
    return not _git(["for-each-ref", "--count=1", "refs/heads/"], folder)


def _git(words: Sequence[str], folder: Path | None = None) -> str:
    """Runs git; returns its output. Raises GitError if it fails, takes too long or prints too much."""
    where = ["--git-dir", str(folder)] if folder else []
    said, output, error = run_bounded(["git", *where, *words], environment(), seconds=_SECONDS, limit=_MOST_OUTPUT)
    if said is None:
        return output.decode(errors="replace")
    # Do not reveal the folder.
    said = said or error.decode(errors="replace").strip()
    raise GitError((said.replace(str(folder.parent), "") if folder else said)[-_SHOWN_ERROR:])
