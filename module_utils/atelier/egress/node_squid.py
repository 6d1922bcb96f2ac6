"""The Squid of a node: copies the controller's configuration, group lists and clients to it through its engine.

A node decides nothing. The controller's Squid has already accepted the configuration; the node's Squid checks it, too,
before it replaces the live file. It runs only while the controller confirms every few seconds that the files are
current (roles/squid, ``run-squid`` and ``confirm-lists``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..engine.client import Engine
from ..engine.models import File
from .squid_config import RECONFIGURE, Configuration, complaint, is_accepted, live_configuration, parse_command

_CONFIGURATION = PurePosixPath("/srv/squid/squid.conf")
_GROUPS = PurePosixPath("/srv/squid/groups.json")
_CLIENTS = PurePosixPath("/srv/egress/workspaces.json")
_LEASE = "/run/lists-confirmed"
_CONFIRM = "/usr/local/bin/confirm-lists"
_DIFFER = "differ "
_ANSWER_SECONDS = 10.0
# For a list of ten thousand domains.
_PARSE_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Lists:
    """The files of every machine's proxies: Squid's configuration, the groups' lists, and the workspace of each
    address."""

    configuration: Configuration
    groups: bytes
    clients: bytes

    @classmethod
    def read(cls, state_dir: Path, clients: bytes) -> Lists:
        """Reads the lists of the controller's Squid. Raises as ``live_configuration``."""
        groups = state_dir / "squid" / "groups.json"
        return cls(live_configuration(state_dir), groups.read_bytes() if groups.exists() else b"{}", clients)

    @property
    def files(self) -> dict[PurePosixPath, bytes]:
        """The files in the order of writing: lists before clients, because an unknown client has no access."""
        return {_CONFIGURATION: self.configuration.text.encode(), _GROUPS: self.groups, _CLIENTS: self.clients}


class NodeSquid:
    """``wait`` is how many seconds Squid may take to apply a configuration."""

    def __init__(self, engine: Engine, container: str, node: str, wait: float) -> None:
        self._engine, self._container, self._node, self._wait = engine, container, node, wait

    def confirm(self, lists: Lists) -> str:
        """Lets Squid continue if it uses these lists; returns the output of ``confirm-lists``."""
        configuration = lists.configuration
        host, port = configuration.address or ("", 0)
        sums = [f"{path}={hashlib.sha256(data).hexdigest()}" for path, data in lists.files.items()]
        return self._run([_CONFIRM, _LEASE, host, str(port), configuration.digest or "", *sums]).strip()

    def bring(self, lists: Lists) -> bool:
        """Copies the lists that the node lacks; returns whether there were any. Raises SQUID_ERROR if its Squid rejects
        them, and the engine's errors."""
        answer = self.confirm(lists)
        changed = answer.startswith(_DIFFER)
        if changed:
            self._write({PurePosixPath(path): lists.files[PurePosixPath(path)] for path in answer.split()[1:]})
            answer = self.confirm(lists)
        deadline = time.monotonic() + self._wait
        while answer != "confirmed":
            if time.monotonic() > deadline:
                raise self._refused(Message("squid.node_slow", seconds=self._wait))
            if answer == "other":
                with suppress(AtelierError):  # it is starting at this moment
                    self._run(RECONFIGURE)
            time.sleep(_POLL_SECONDS)
            answer = self.confirm(lists)
        return changed

    def _write(self, files: Mapping[PurePosixPath, bytes]) -> None:
        new = {path: path.with_name(f"{path.name}.new") for path in files}
        for path, data in files.items():
            file = File(new[path], data, 0, 0, 0o644, time.time())
            self._engine.put(self._container, str(path.parent), [file])
        if _CONFIGURATION in files:
            self._run(parse_command(new[_CONFIGURATION]), seconds=_PARSE_SECONDS)
        for path in files:
            # As root, who owns the files: Squid's user only writes its log.
            self._run(["/bin/mv", "-T", str(new[path]), str(path)], user="root")

    def _run(self, command: Sequence[str], *, seconds: float = _ANSWER_SECONDS, user: str = "") -> str:
        """The program's output. Raises SQUID_ERROR if it fails."""
        try:
            code, output = self._engine.execute(self._container, command, seconds=seconds, user=user)
        except AtelierError as error:
            if "limit" not in error.details:
                raise
            # Leave out the engine's advice, which is for seats.
            raise self._refused(error.message) from error
        if not is_accepted(code, output):
            raise self._refused(output)
        return output

    def _refused(self, said: str) -> AtelierError:
        said = said if isinstance(said, Message) else complaint(said)
        message = Message("squid.node_refused", node=self._node, said=said)
        return AtelierError(Code.SQUID_ERROR, message, node=self._node)
