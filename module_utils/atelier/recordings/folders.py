"""The folders with a workspace's recordings: one on each machine that it was on, written by that machine's recorder.

In ``<state folder>/recordings/<workspace id>``: ``domains.json``, and a file for each conversation in
``conversations``. A node's folder is read through its engine, in its recorder's container.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Site
from ..common.portions import portions
from ..common.validation import check_id, is_id
from ..engine.client import Engine
from ..engine.several import ask_all

# Far above the recorder's limits; a larger file is not from it.
MOST_BYTES = 64 * 1024**2
_MOST_LISTED = 32 * 1024**2
# Maximum bytes per response of a node and per page, unless a single file is larger; in memory their content takes some
# twenty times as much.
MOST_AT_ONCE = 16 * 1024**2
_SECONDS = 5.0
_READ_SECONDS = 20.0
_SHELL = ("/bin/sh", "-c")
_LIST = (
    'cd "/recordings/$1" 2>/dev/null || exit 0; '
    '/usr/bin/find conversations -maxdepth 1 -type f -printf "%f %s\\n" 2>/dev/null; '
    'printf "\\0"; /usr/bin/head -c "$2" domains.json 2>/dev/null; exit 0'
)
_SHOW = (
    'cd "/recordings/$1/conversations" || exit 1; limit=$2; shift 2; '
    'for file; do /usr/bin/head -c "$limit" "$file" 2>/dev/null; printf "\\0"; done'
)
_DELETE = 'cd "/recordings/$1/conversations" || exit 1; shift; /bin/rm -f "$@"'
_REMOVE = '/bin/rm -rf "/recordings/$1"'


@dataclass(frozen=True)
class Recorded:
    """All folders of a workspace, the controller's first, and the machines that did not answer."""

    workspace_id: str
    folders: Sequence[Folder]
    unanswered: Sequence[str] = ()

    @classmethod
    def here(cls, state_dir: Path, workspace_id: str) -> Recorded:
        """The recordings on this machine only."""
        return cls(workspace_id, [LocalFolder(state_dir / "recordings" / check_id(workspace_id))])


def recorded_anywhere(site: Site, engine_of: Callable[[str], Engine], workspace_id: str) -> Recorded:
    """The recordings on all machines (it may have been moved). ``engine_of`` raises for an unreachable one."""
    here = Recorded.here(site.state_dir, workspace_id)

    def open_folder(node: str) -> Folder:
        return NodeFolder(site, engine_of(node), workspace_id)

    found, failures = ask_all([node.name for node in site.nodes], open_folder)
    return Recorded(workspace_id, [*here.folders, *(found[name] for name in sorted(found))], sorted(failures))


def recorded_on_node(site: Site, engine: Engine) -> list[str]:
    """The ids of all workspaces that a node has recordings of."""
    command = ["/bin/ls", "/recordings"]
    _, output = engine.execute(_recorder(site), command, seconds=_SECONDS, limit=_MOST_LISTED)
    return [name for name in output.split() if is_id(name)]


def copy_recordings(site: Site, engine: Engine, file: IO[bytes]) -> bool:
    """Writes all recordings of a node as a tar archive; returns False for a node without a recorder."""
    if engine.inspect(_recorder(site)) is None:
        return False
    with closing(engine.stream(_recorder(site), "/recordings/.", _READ_SECONDS)) as pieces:
        file.writelines(pieces)
    return True


def put_recordings(site: Site, engine: Engine, archive: Iterator[bytes]) -> bool:
    """Adds the recordings of such an archive to those of a node; returns False for one without a recorder."""
    if engine.inspect(_recorder(site)) is None:
        return False
    engine.unpack(_recorder(site), "/recordings", archive)
    return True


def _recorder(site: Site) -> str:
    return f"{site.instance}-recorder"


class LocalFolder:
    """A workspace's recordings on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._conversations = folder / "conversations"

    def names(self) -> Sequence[str]:
        """The names of all files in the conversations' folder, unsorted, including foreign ones."""
        try:
            with os.scandir(self._conversations) as entries:
                return [entry.name for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unusable(error.strerror) from error

    def size(self, name: str) -> int:
        """Bytes of a file; 0 if it is gone."""
        try:
            return (self._conversations / name).stat().st_size
        except OSError:
            return 0

    def contents(self, names: Sequence[str], limit: int) -> Iterator[bytes]:
        """The first ``limit`` bytes of each of these files; nothing for one that is gone."""
        return (_read(self._conversations / name, limit) for name in names)

    def domains(self) -> bytes:
        return _read(self._folder / "domains.json", MOST_BYTES)

    def delete(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                (self._conversations / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(error.strerror) from error

    def remove(self) -> bool:
        """Removes everything, and says whether there was anything."""
        for _ in range(3):  # the recorder may put a file in between
            try:
                shutil.rmtree(self._folder)
            except FileNotFoundError:
                return False
            except OSError as error:
                failure = error
            else:
                return True
        raise _unusable(failure.strerror) from failure


class NodeFolder:
    """The same on a node. The list of files is read once, when it is opened. Raises the engine's errors."""

    def __init__(self, site: Site, engine: Engine, workspace_id: str) -> None:
        self._engine, self._container, self._id = engine, _recorder(site), check_id(workspace_id)
        listed = self._run(_LIST, str(MOST_BYTES // 4), seconds=_SECONDS, limit=_MOST_LISTED)
        names, _, domains = listed.partition("\0")
        entries = [line.rpartition(" ") for line in names.splitlines()]
        self._sizes = {name: int(size) for name, _, size in entries if size.isdigit()}
        self._domains = domains.encode()
        self._is_there = bool(listed)

    def names(self) -> Sequence[str]:
        return list(self._sizes)

    def size(self, name: str) -> int:
        return self._sizes.get(name, 0)

    def contents(self, names: Sequence[str], limit: int) -> Iterator[bytes]:
        for some in portions(names, lambda name: min(self.size(name), limit), MOST_AT_ONCE):
            # A file that is still being written may have grown.
            most = sum(min(self.size(name), limit) for name in some) + MOST_AT_ONCE
            texts = self._run(_SHOW, str(limit), *some, seconds=_READ_SECONDS, limit=most).split("\0")[:-1]
            # A file with such a character is not one of the recorder's.
            yield from (text.encode() for text in texts) if len(texts) == len(some) else (b"" for _ in some)

    def domains(self) -> bytes:
        return self._domains

    def delete(self, names: Sequence[str]) -> None:
        if names:
            self._run(_DELETE, *names, seconds=_READ_SECONDS)

    def remove(self) -> bool:
        if self._is_there:
            self._run(_REMOVE, seconds=_READ_SECONDS)
        return self._is_there

    def _run(self, script: str, *arguments: str, seconds: float, limit: int = 65536) -> str:
        command = [*_SHELL, script, "recordings", self._id, *arguments]
        code, output = self._engine.execute(self._container, command, seconds=seconds, limit=limit)
        if code != 0:
            raise _unusable(output.strip()[-200:])
        return output


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b""
    except OSError as error:
        raise _unusable(error.strerror) from error


def _unusable(why: str | None) -> AtelierError:
    return AtelierError(Code.INTERNAL_ERROR, Message("recordings_unusable", why=why))


Folder = LocalFolder | NodeFolder
