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
_BATCHES = 1 << 50  # batch locks lie above every 12-digit hexadecimal id (48 bits)
_GATEWAY = 1 << 52
_EGRESS = _GATEWAY + 1
_REHEARSAL = _GATEWAY + 2
_NAMES = _GATEWAY + 3
_IMAGES = _GATEWAY + 4
_CERTIFICATE = _GATEWAY + 5
_BACKUP = _GATEWAY + 6
_SHEETS = 1 << 53
_WHITELIST = 1 << 54
_ARCHIVES = 1 << 55
_TEMPLATES = 1 << 56
_NODES = 1 << 57
_TRAVELS = 1 << 58
# struct flock: type, whence, start, length, pid (0 for open-file-description locks); see fcntl(2).
_FLOCK = struct.Struct("hhqqi4x")

Lock = AbstractContextManager[None]


class Locks:
    """The lock file of one installation. ``wait`` is in seconds everywhere."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "locks"

    def workspace(self, workspace_id: str, wait: float) -> Lock:
        """Locks one workspace. Raises WORKSPACE_BUSY if it stays locked for the whole wait."""
        return self._required(
            int(workspace_id, 16), wait, Message("held.workspace", workspace=workspace_id, seconds=wait), "workspace"
        )

    def workspace_free(self, workspace_id: str) -> bool:
        """Whether the workspace is unlocked at this moment."""
        return self._free(int(workspace_id, 16))

    def batch(self, batch_id: str) -> AbstractContextManager[bool]:
        """Tries to hold one batch of clones, without waiting; says whether it does."""
        return self._held(_BATCHES + int(batch_id, 16), 0)

    def batch_free(self, batch_id: str) -> bool:
        """Whether the batch is unlocked at this moment."""
        return self._free(_BATCHES + int(batch_id, 16))

    def gateway(self, wait: float = 30) -> Lock:
        """Locks the route map. Raises GATEWAY_ERROR if it stays locked for the whole wait."""
        return self._required(_GATEWAY, wait, Message("held.routes", seconds=wait), code=Code.GATEWAY_ERROR)

    def egress(self, wait: float = 30) -> Lock:
        """Locks the proxies' client map. Raises EGRESS_ERROR if it stays locked for the whole wait."""
        return self._required(_EGRESS, wait, Message("held.clients", seconds=wait), code=Code.EGRESS_ERROR)

    def names(self, wait: float) -> Lock:
        """Locks the key for names while it is created. Raises WORKSPACE_BUSY if it stays locked for the whole wait."""
        return self._required(_NAMES, wait, Message("held.names", seconds=wait))

    def certificate(self, wait: float) -> Lock:
        """Holds the renewal of the gateway's certificate. Raises WORKSPACE_BUSY if another is at it for the whole
        wait."""
        return self._required(_CERTIFICATE, wait, Message("held.certificate", seconds=wait))

    def rehearsal(self) -> Lock:
        """Holds the rehearsal, of which there is one at a time. Raises WORKSPACE_BUSY at once when one is under way."""
        return self._required(_REHEARSAL, 0, Message("held.rehearsal"), "rehearsal")

    def backup(self) -> Lock:
        """Holds the backup, of which there is one at a time. Raises WORKSPACE_BUSY at once when one is under way."""
        return self._required(_BACKUP, 0, Message("held.backup"))

    def rehearsal_free(self) -> bool:
        """Whether no rehearsal is under way at this moment."""
        return self._free(_REHEARSAL)

    def image_push(self, wait: float) -> Lock:
        """Holds the image registry together with other pushes. Raises WORKSPACE_BUSY if it collected garbage for the
        whole wait."""
        return self._required(_IMAGES, wait, Message("held.images", seconds=wait), kind=fcntl.F_RDLCK)

    def image_collection(self) -> AbstractContextManager[bool]:
        """Tries to hold the image registry alone, without waiting; says whether it does."""
        return self._held(_IMAGES, 0)

    def image_travel(self, name: str, wait: float, to: str = "") -> Lock:
        """Holds an image's way into the registry, or from there to the machine ``to``. Raises WORKSPACE_BUSY if it
        stays locked for the whole wait."""
        held = Message("held.image", image=name, seconds=wait)
        return self._required(_TRAVELS + _number((name, to)), wait, held)

    def whitelist(self, wait: float) -> Lock:
        """Locks Squid's configuration. Raises WORKSPACE_BUSY if it stays locked for the whole wait."""
        return self._required(_WHITELIST, wait, Message("held.whitelist", seconds=wait), "whitelist")

    def node_lists(self, node: str, wait: float) -> Lock:
        """Locks the whitelists of one node. Raises EGRESS_ERROR if they stay locked for the whole wait."""
        held = Message("held.node_lists", node=node, seconds=wait)
        return self._required(_NODES + _number(node), wait, held, code=Code.EGRESS_ERROR)

    def sheet(self, path: Path, wait: float) -> Lock:
        """Holds a seat sheet. Raises WORKSPACE_BUSY when another run filled it for the whole wait."""
        return self._required(
            _SHEETS + _number(path.resolve()), wait, Message("held.sheet", path=path, seconds=wait), "seats_csv"
        )

    def archives(self, folder: Path, wait: float) -> Lock:
        """Holds a folder of archives. Raises WORKSPACE_BUSY when another run filled it for the whole wait."""
        return self._required(
            _ARCHIVES + _number(folder.resolve()), wait, Message("held.folder", folder=folder, seconds=wait), "folder"
        )

    def template(self, template: str, wait: float) -> Lock:
        """Holds a template's image. Raises WORKSPACE_BUSY when another process builds it for the whole wait."""
        held = Message("held.template", template=template, seconds=wait)
        return self._required(_TEMPLATES + _number(template), wait, held, "template")

    def template_free(self, template: str) -> bool:
        """Whether the template's image is not being built at this moment."""
        return self._free(_TEMPLATES + _number(template))

    @contextmanager
    def _required(
        self,
        byte: int,
        wait: float,
        message: Message,
        field: str | None = None,
        code: Code = Code.WORKSPACE_BUSY,
        kind: int = fcntl.F_WRLCK,
    ) -> Iterator[None]:
        with self._held(byte, wait, kind) as held:
            if not held:
                raise AtelierError(code, message, field=field)
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
