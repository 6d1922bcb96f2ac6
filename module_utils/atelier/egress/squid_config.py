"""squid.conf consists of the role's frame and the whitelist's section in it.

The frame is ``squid.conf.frame`` in the same folder. ``@whitelist@`` is replaced by the section, and ``@digest@`` by
the digest of the whole file: the running Squid returns it to requests from the host, which shows the configuration that
it applied.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .whitelist import find_section, parse_section, render_section

_WHITELIST, _DIGEST = "@whitelist@\n", "@digest@"
_LISTENS = re.compile(r"^http_port (\S+):(\d+)", re.MULTILINE)
# No name of the world: RFC 2606 reserves .invalid. The frame answers it with a redirect that names the digest.
_QUESTION = "http://configuration.invalid/"
_TELLS = re.compile(rf"{re.escape(_QUESTION)}([0-9a-f]{{16}})")
_ANSWER_SECONDS = 2


@dataclass(frozen=True)
class Configuration:
    """The text of a squid.conf."""

    text: str

    @classmethod
    def composed(cls, frame: str, entries: Sequence[str]) -> Configuration:
        whole = frame.replace(_WHITELIST, render_section(entries))
        return cls(whole.replace(_DIGEST, hashlib.sha256(whole.encode()).hexdigest()[:16]))

    @property
    def section(self) -> str:
        """The whitelist's section; empty when there is none."""
        return find_section(self.text) or ""

    @property
    def entries(self) -> tuple[str, ...]:
        return parse_section(self.section)

    @property
    def digest(self) -> str | None:
        found = _TELLS.search(self.text)
        return found[1] if found else None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where Squid listens."""
        found = _LISTENS.search(self.text)
        return (found[1], int(found[2])) if found else None

    def is_running(self) -> bool:
        """Whether the Squid that runs has taken exactly this configuration."""
        return self.address is not None and self.digest is not None and _ask(*self.address) == self.digest


def _ask(host: str, port: int) -> str | None:
    """The digest that the Squid there tells; None when it tells none."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", _QUESTION)
        location = connection.getresponse().getheader("Location", "")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return urlsplit(location).path.removeprefix("/") or None
