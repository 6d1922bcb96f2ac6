"""Removes leftovers of killed git processes from a repository: half a push's objects, which fill the disk, and lock
files, which block a branch permanently. git removes neither: it has a quarantine for each push, and does not clean that
up when it ends by a signal."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from .git import REFERENCES

log = logging.getLogger("atelier_git")

_LOCKS = ("*.lock", "refs/**/*.lock", "objects/info/*.lock", "objects/info/commit-graphs/*.lock")
# git's own maintenance runs beside pushes; its files are removed only when nothing runs.
_TIDYING = ("gc.pid", "objects/maintenance.lock")
_HALF_MADE = ("objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/[0-9a-f][0-9a-f]/tmp_obj_*", "packed-refs.new")


@dataclass
class _Repository:
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    under_way: int = 0
    broken: bool = False


class Pushes:
    """The pushes to each repository, for one event loop. After a push that broke, and when no other is running, its
    leftovers are removed; the next push waits for that."""

    def __init__(self) -> None:
        # Each as long as a push to it runs or waits.
        self._repositories: WeakValueDictionary[Path, _Repository] = WeakValueDictionary()

    @asynccontextmanager
    async def on(self, folder: Path) -> AsyncIterator[None]:
        """Registers a push for the block. It counts as broken if the block raises or calls ``broke``."""
        repository = self._repositories.setdefault(folder, _Repository())
        async with repository.gate:
            repository.under_way += 1
        try:
            yield
        except BaseException:
            repository.broken = True
            raise
        finally:
            async with repository.gate:
                repository.under_way -= 1
                if not repository.under_way and repository.broken:
                    repository.broken = False
                    await asyncio.to_thread(remove_after_a_push, folder)

    def broke(self, folder: Path) -> None:
        """Marks a push under way as broken, because its git did not end normally. Does nothing for a clone."""
        if repository := self._repositories.get(folder):
            repository.broken = True


def remove_after_a_push(folder: Path) -> None:
    """While no push to the repository is under way."""
    with REFERENCES:
        _remove(folder.glob("objects/tmp_objdir-*"))
        if not any((folder / name).exists() for name in _TIDYING):
            _remove(path for pattern in _LOCKS for path in folder.glob(pattern))


def remove_at_start(folder: Path) -> None:
    """While nothing at all works on the repository."""
    for name in _TIDYING:
        (folder / name).unlink(missing_ok=True)
    remove_after_a_push(folder)
    _remove(path for pattern in _HALF_MADE for path in folder.glob(pattern))
    for path in folder.glob("objects/pack/*.keep"):
        # A .keep file protects a pack until its push has moved the branches.
        with suppress(OSError):
            if path.read_bytes().startswith(b"receive-pack "):
                path.unlink()


def _remove(paths: Iterator[Path]) -> None:
    for path in list(paths):
        log.info("left by a push that broke off: %s", path.name)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            # The next one tries again.
            log.warning("can't remove %s: %s", path, error.strerror)
