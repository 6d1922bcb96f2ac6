"""Removes leftovers of killed git processes from a repository: half a push's objects, which fill the disk, and lock
files, which block a branch permanently. git removes neither: it has a quarantine for each push, and does not clean that
up when it ends by a signal."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from .git import REFERENCES

log = logging.getLogger("atelier_git")

_LOCKS = ("*.lock", "refs/**/*.lock", "objects/info/*.lock", "objects/info/commit-graphs/*.lock")
# git's own maintenance runs beside pushes; its files are removed only when nothing runs.
_TIDYING = ("gc.pid", "objects/maintenance.lock")
_HALF_MADE = ("objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/[0-9a-f][0-9a-f]/tmp_obj_*", "packed-refs.new")


class Pushes:
    """The pushes to each repository, for one event loop. After a push that broke, and when no other is running, its
    leftovers are removed; the next push waits for that."""

    def __init__(self) -> None:
        self._gates: dict[Path, asyncio.Lock] = {}
        self._present: dict[Path, int] = {}
        self._under_way: dict[Path, int] = {}
        self._broken: set[Path] = set()

    @asynccontextmanager
    async def on(self, folder: Path) -> AsyncIterator[None]:
        """Registers a push for the block. It counts as broken if the block raises or calls ``broke``."""
        self._present[folder] = self._present.get(folder, 0) + 1
        gate = self._gates.setdefault(folder, asyncio.Lock())
        try:
            async with gate:
                self._under_way[folder] = self._under_way.get(folder, 0) + 1
            try:
                yield
            except BaseException:
                self._broken.add(folder)
                raise
            finally:
                async with gate:
                    self._under_way[folder] -= 1
                    if not self._under_way[folder] and folder in self._broken:
                        self._broken.discard(folder)
                        await asyncio.to_thread(remove_after_a_push, folder)
        finally:
            self._present[folder] -= 1
            if not self._present[folder]:
                del self._present[folder], self._gates[folder]
                self._under_way.pop(folder, None)

    def broke(self, folder: Path) -> None:
        """Marks the present push as broken, because its git did not end normally."""
        self._broken.add(folder)


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
