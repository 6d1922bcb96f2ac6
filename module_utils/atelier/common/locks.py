"""Locks between processes, held by the kernel: a killed process releases them, so no cleanup is needed.

All locks are single bytes of one file. A workspace's byte is its id read as a number, so nothing has to be created
or removed with it. The locks are Linux's open-file-description locks: unlike POSIX ones they also keep two threads of
one process apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from .errors import AtelierError, Code
from .messages import Message

_POLL_SECONDS = 0.02
_BATCHES = 1 << 50  # above every 12-digit hexadecimal id (48 bits)
_GATEWAY, _EGRESS, _REHEARSAL, _NAMES, _IMAGES, _CERTIFICATE, _BACKUP = range(1 << 52, (1 << 52) + 7)
_SHEETS, _WHITELIST, _ARCHIVES, _TEMPLATES, _NODES, _TRAVELS, _PULLS = (1 << bit for bit in range(53, 60))
# struct flock: type, whence, start, length, pid (0 for open-file-description locks); see fcntl(2).
_FLOCK = struct.Struct("hhqqi4x")

Lock = AbstractContextManager[None]


class Locks:
    """The lock file of one installation.

    ``wait`` is in seconds. A lock that another process has for the whole wait raises WORKSPACE_BUSY; ``gateway`` raises
    GATEWAY_ERROR, ``egress`` and ``node_lists`` EGRESS_ERROR. ``..._free`` says whether nobody has it at this moment.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "locks"

    def workspace(self, workspace_id: str, wait: float) -> Lock:
        return self._required(int(workspace_id, 16), wait, "held.workspace", field="workspace", workspace=workspace_id)

    def workspace_free(self, workspace_id: str) -> bool:
        return self._free(int(workspace_id, 16))

    def batch(self, batch_id: str) -> AbstractContextManager[bool]:
        """Tries to hold one batch of clones, without waiting; says whether it does."""
        return self._held(_BATCHES + int(batch_id, 16), 0)

    def batch_free(self, batch_id: str) -> bool:
        return self._free(_BATCHES + int(batch_id, 16))

    def gateway(self, wait: float = 30) -> Lock:
        """The gateway's route maps."""
        return self._required(_GATEWAY, wait, "held.routes", code=Code.GATEWAY_ERROR)

    def egress(self) -> Lock:
        """The list of the proxies' clients."""
        return self._required(_EGRESS, 30, "held.clients", code=Code.EGRESS_ERROR)

    def names(self, wait: float) -> Lock:
        """The key for names, while it is created."""
        return self._required(_NAMES, wait, "held.names")

    def certificate(self, wait: float) -> Lock:
        """The renewal of the gateway's certificate."""
        return self._required(_CERTIFICATE, wait, "held.certificate")

    def rehearsal(self) -> Lock:
        """The rehearsal, of which there is one at a time; not waited for."""
        return self._required(_REHEARSAL, 0, "held.rehearsal", field="rehearsal")

    def rehearsal_free(self) -> bool:
        return self._free(_REHEARSAL)

    def backup(self) -> Lock:
        """The backup, of which there is one at a time; not waited for."""
        return self._required(_BACKUP, 0, "held.backup")

    def image_push(self, wait: float) -> Lock:
        """The image registry, together with other pushes."""
        return self._required(_IMAGES, wait, "held.images", kind=fcntl.F_RDLCK)

    def image_collection(self) -> AbstractContextManager[bool]:
        """Tries to hold the image registry alone, without waiting; says whether it does."""
        return self._held(_IMAGES, 0)

    def image_travel(self, name: str, wait: float, to: str = "") -> Lock:
        """An image's way into the registry, or from there to the machine ``to``."""
        return self._required(_TRAVELS + _number((name, to)), wait, "held.image", image=name)

    def image_pull(self, node: str) -> AbstractContextManager[bool]:
        """A pull to the machine, together with other pulls."""
        return self._held(_PULLS + _number(node), 0, fcntl.F_RDLCK)

    def image_pulls_free(self, node: str) -> bool:
        return self._free(_PULLS + _number(node))

    def whitelist(self, wait: float) -> Lock:
        """Squid's configuration."""
        return self._required(_WHITELIST, wait, "held.whitelist", field="whitelist")

    def node_lists(self, node: str, wait: float) -> Lock:
        """The whitelists of one node."""
        return self._required(_NODES + _number(node), wait, "held.node_lists", code=Code.EGRESS_ERROR, node=node)

    def sheet(self, path: Path, wait: float) -> Lock:
        """A seat sheet."""
        return self._required(_SHEETS + _number(path.resolve()), wait, "held.sheet", field="seats_csv", path=path)

    def archives(self, folder: Path, wait: float) -> Lock:
        """A folder of archives."""
        return self._required(_ARCHIVES + _number(folder.resolve()), wait, "held.folder", field="folder", folder=folder)

    def template(self, template: str, wait: float) -> Lock:
        """A template's image, while it is built."""
        return self._required(
            _TEMPLATES + _number(template), wait, "held.template", field="template", template=template
        )

    def template_free(self, template: str) -> bool:
        return self._free(_TEMPLATES + _number(template))

    @contextmanager
    def _required(
        self,
        byte: int,
        wait: float,
        id: str,
        *,
        field: str | None = None,
        code: Code = Code.WORKSPACE_BUSY,
        kind: int = fcntl.F_WRLCK,
        **params: object,
    ) -> Iterator[None]:
        with self._held(byte, wait, kind) as held:
            if not held:
                why, remedy = Message(id, seconds=wait, **params), Message("held_by_another")
                raise AtelierError(code, why, remedy=remedy, field=field)
            yield

    @contextmanager
    def _held(self, byte: int, wait: float, kind: int = fcntl.F_WRLCK) -> Iterator[bool]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _acquire(descriptor, _request(byte, kind), time.monotonic() + wait)
        finally:
            os.close(descriptor)  # closing the description is what lets the lock go

    def _free(self, byte: int) -> bool:
        """Checks without acquiring, so that a concurrent attempt does not fail because of the check."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(byte))
        finally:
            os.close(descriptor)
        return int(_FLOCK.unpack(answer)[0]) == fcntl.F_UNLCK


def _number(name: object) -> int:
    return int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:6], "big")


def _request(byte: int, kind: int = fcntl.F_WRLCK) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


def _acquire(descriptor: int, request: bytes, deadline: float) -> bool:
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
