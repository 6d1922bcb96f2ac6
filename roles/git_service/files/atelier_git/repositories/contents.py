"""Checks the size of a push and of the resulting repository, and refuses what is too large. Run by the pre-receive
hook, while git has the new objects in a quarantine (git-receive-pack(1))."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .bounded import run_bounded

MIB = 1024**2
# git's own maximum: reading an object at the end of a longer chain takes minutes.
_LONGEST_CHAIN = 4095
# Atelier, and everything that lists or compares, holds these in memory. A message is a part of its commit or tag.
_LARGEST = {b"commit": MIB, b"tag": MIB, b"tree": 16 * MIB}
_KINDS = {
    b"commit": ("The commit", "Make it again with a shorter message"),
    b"tag": ("The tag", "Make it again with a shorter message"),
    b"tree": ("The folder", "Spread its files over several folders"),
    b"blob": ("The file", "Take it out of your commits"),
}
_FORMAT = "%(objecttype) %(objectsize) %(objectname) %(deltabase)"
_NO_OBJECT = b"0" * 40
_SECONDS = 120
_NAMING_SECONDS = 10
_SHOWN = 200
_MOST_LINES = 64 * MIB
_FANOUT_END = slice(8 + 255 * 4, 8 + 256 * 4)


@dataclass(frozen=True)
class Limits:
    """Limits in bytes; ``objects`` is a number. ``branch`` is the maximum that a seat's branch may add to
    ``default_branch``; None for users who are not seats."""

    file: int
    repository: int
    objects: int
    branch: int | None
    default_branch: str

    def dump(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


class Refused(Exception):
    """A sentence for the one who pushes."""


def load(text: str) -> Limits:
    return Limits(**json.loads(text))


def refusal(folder: Path, limits: Limits, tips: Sequence[str]) -> str | None:
    """Why the push of these commits is refused, in the words that the pusher's git shows; None when it is not."""
    try:
        _check_repository(folder, limits)
        with _new_objects() as lines:
            check_objects(lines, limits, tips)
        _check_branch(limits, tips)
    except Refused as refused:
        return f"{refused} Nothing of this push was taken."
    return None


def check_objects(lines: Iterable[bytes], limits: Limits, tips: Sequence[str] = ()) -> None:
    """Looks at each new object, one line of ``_FORMAT`` each. Raises Refused."""
    bases: dict[bytes, bytes] = {}
    for line in lines:
        kind, size, number, base = line.split()
        most = _LARGEST.get(kind, limits.file)
        if int(size) > most:
            named = _name_of(number.decode(), tips) if kind == b"blob" else number[:10].decode()
            what, remedy = _KINDS[kind]
            raise Refused(f"{what} {named} has {_mib(int(size))} and may have {_mib(most)}. {remedy}.")
        if base != _NO_OBJECT:
            bases[number] = base
    if _longest_chain(bases) > _LONGEST_CHAIN:
        raise Refused("It is packed so that reading it would take too long. Run git repack -adf, then push again.")


def _check_repository(folder: Path, limits: Limits) -> None:
    """Raises Refused if all packs together, including the new ones in quarantine, are too large."""
    size = size_of(folder)
    if size > limits.repository:
        raise Refused(
            f"With this push the repository would hold {_mib(size)}; it may hold {_mib(limits.repository)}."
            " Push less, or ask whoever runs this workshop."
        )
    count = sum(_objects_of(index) for index in folder.glob("objects/**/pack/*.idx"))
    if count > limits.objects:
        raise Refused(
            f"With this push the repository would hold {count} files, folders and commits; it may hold"
            f" {limits.objects}. Push less, or ask whoever runs this workshop."
        )


def _check_branch(limits: Limits, tips: Sequence[str]) -> None:
    if limits.branch is None or not tips:
        return
    known = _ask(["rev-parse", "--verify", "--quiet", f"refs/heads/{limits.default_branch}"])
    without = ["--not", f"refs/heads/{limits.default_branch}"] if known else []
    held = int(_ask(["rev-list", "--objects", "--disk-usage", *tips, *without]) or 0)
    if held > limits.branch:
        raise Refused(
            f"With this push your branch would hold {_mib(held)} of its own; it may hold {_mib(limits.branch)}."
            " Take large files out of your commits."
        )


def _ask(words: Sequence[str]) -> bytes:
    """git's output; empty if git fails. Raises Refused if it takes too long."""
    why, output, _ = run_bounded(["git", *words], os.environ, seconds=_SECONDS, limit=_MOST_LINES)
    if why:
        raise Refused("To look at this push takes too long. Push less at once.")
    return output if why is None else b""


@contextmanager
def _new_objects() -> Iterator[Iterable[bytes]]:
    """A line for each new object. Raises Refused when git does not come to an end."""
    # Without these only the quarantine is listed.
    own = {key: value for key, value in os.environ.items() if key != "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
    command = ["git", "cat-file", "--batch-all-objects", "--unordered", "--buffer", f"--batch-check={_FORMAT}"]
    with subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        clock = threading.Timer(_SECONDS, process.kill)
        clock.start()
        try:
            yield process.stdout
            if process.wait() != 0:
                raise Refused("To look at this push takes too long, or too much memory. Push less at once.")
        finally:
            clock.cancel()
            process.kill()


def _longest_chain(bases: Mapping[bytes, bytes]) -> int:
    """The longest chain of objects that are stored as the difference to another one."""
    depth: dict[bytes, int] = {}
    for number in bases:
        way = []
        while number in bases and number not in depth:
            way.append(number)
            number = bases[number]
        end = depth.get(number, 0)
        for place, step in enumerate(reversed(way), 1):
            depth[step] = end + place
    return max(depth.values(), default=0)


def _name_of(number: str, tips: Sequence[str]) -> str:
    """The object's path if git finds it in time, otherwise its id."""
    command = ["git", "rev-list", "--objects", *tips, "--not", "--all"]
    _, output, _ = run_bounded(command, os.environ, seconds=_NAMING_SECONDS, limit=_MOST_LINES)
    for line in output.splitlines():
        if line.startswith(number.encode()):
            return repr(line[41:].decode(errors="replace"))[:_SHOWN]
    return number[:10]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - a walk over many files
            except FileNotFoundError:
                continue  # git tidies up
    return total


def _objects_of(index: Path) -> int:
    """The number of objects in a pack's index (gitformat-pack(5), version 2: the last entry of the fan-out table)."""
    try:
        with index.open("rb") as file:
            return int.from_bytes(file.read(_FANOUT_END.stop)[_FANOUT_END], "big")
    except FileNotFoundError:
        return 0


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
