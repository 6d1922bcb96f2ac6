"""squid.conf, and the configuration that a running Squid uses.

squid.conf consists of the role's frame, ``squid.conf.frame`` in the same folder, and the whitelist's section in it. In
the frame ``@whitelist@`` is replaced by the section, and ``@digest@`` by the digest of the whole file: the running
Squid returns it to requests from the host, which shows the configuration that it applied.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..common.atomic_files import usable
from ..common.errors import AtelierError, Code
from ..common.messages import Message

_WHITELIST, _DIGEST = "@whitelist@\n", "@digest@"
_BEGIN = "# Whitelist ACLs. This section is written by Atelier; changes by hand are lost."
_END = "# Whitelist ACLs: end"
# -n: no reverse lookup of addresses in requests; otherwise Squid would trust the answer.
_ACL = "acl whitelist dstdomain -n"
_SECTION = re.compile(rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}\n", re.MULTILINE | re.DOTALL)
_PROGRAM = "/usr/sbin/squid"
# Of the image: no more than where the running Squid's number stands. Reading all of squid.conf for that takes long.
RECONFIGURE = (_PROGRAM, "-k", "reconfigure", "-f", "/etc/squid/signal.conf")
_LISTENS = re.compile(r"^http_port (\S+):(\d+)", re.MULTILINE)
# RFC 2606 reserves .invalid. squid.conf's frame answers this address with a redirect that contains the digest.
_QUESTION = "http://configuration.invalid/"
_TELLS = re.compile(rf"{re.escape(_QUESTION)}([0-9a-f]{{16}})")
_ANSWER_SECONDS = 3
# "2026/11/24 17:52:31| FATAL: Bungled ..."; kid processes add " kid1".
_COMPLAINT = re.compile(
    r"^(?:[\d/]+ [\d:]+(?: kid\d+)?\| ?)?((?:FATAL|ERROR|Bungled).*|.*: unrecognized: .*)", re.MULTILINE
)
_SHOWN_COMPLAINTS = 3


@dataclass(frozen=True)
class Configuration:
    """The text of a squid.conf."""

    text: str

    @classmethod
    def composed(cls, frame: str, entries: Sequence[str]) -> Configuration:
        section = "\n".join([_BEGIN, " \\\n ".join([_ACL, *entries]), _END, ""])
        whole = frame.replace(_WHITELIST, section)
        return cls(whole.replace(_DIGEST, hashlib.sha256(whole.encode()).hexdigest()[:16]))

    @property
    def section(self) -> str:
        """The whitelist's section, markers included; empty if there is none."""
        found = _SECTION.search(self.text)
        return found[0] if found else ""

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(word for word in self.section.split() if word.startswith("."))

    @property
    def digest(self) -> str | None:
        found = _TELLS.search(self.text)
        return found[1] if found else None

    @property
    def address(self) -> tuple[str, int] | None:
        """The address and port that Squid listens on; None if the text has none."""
        found = _LISTENS.search(self.text)
        return (found[1], int(found[2])) if found else None

    def is_running(self) -> bool:
        """Whether the running Squid uses exactly this configuration, whose digest is the address that it redirects
        to."""
        answer = ask_proxy(self.address, _QUESTION) if self.address and self.digest else None
        return answer is not None and urlsplit(answer.get("Location", "")).path == f"/{self.digest}"


def read_configuration(path: Path) -> Configuration | None:
    """The file's configuration; None without the file. Raises SQUID_ERROR for one that can't be read."""
    with usable(path, Code.SQUID_ERROR):
        return Configuration(path.read_text()) if path.exists() else None


def live_configuration(state_dir: Path) -> Configuration:
    """The configuration that the installation's Squid starts with. Raises SERVICE_UNAVAILABLE if there is none, and
    SQUID_ERROR."""
    found = read_configuration(state_dir / "squid" / "squid.conf")
    if found is None:
        raise no_files(state_dir / "squid")
    return found


def no_files(folder: Path) -> AtelierError:
    return AtelierError(Code.SERVICE_UNAVAILABLE, Message("squid.no_files", folder=folder), field="site.state_dir")


def parse_command(file: PurePosixPath) -> list[str]:
    """Has Squid check a file of its container; see ``is_accepted``."""
    return [_PROGRAM, "-k", "parse", "-f", str(file)]


def is_accepted(code: int, output: str) -> bool:
    """Whether Squid took the file that ``parse_command`` named. Its exit status is 0 even after some fatal errors."""
    return code == 0 and "FATAL:" not in output


def complaint(output: str) -> str:
    """The last error messages in Squid's output."""
    complaints = [*dict.fromkeys(found.strip() for found in _COMPLAINT.findall(output))][-_SHOWN_COMPLAINTS:]
    return "; ".join(complaint[:300] for complaint in complaints) or Message("squid.no_reason")


def ask_proxy(address: tuple[str, int], question: str) -> http.client.HTTPMessage | None:
    """The headers of a proxy's answer to this host, if only a refusal; None without an answer."""
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection(*address, timeout=_ANSWER_SECONDS)) as connection,
    ):
        connection.request("GET", question)
        return connection.getresponse().headers
    return None
