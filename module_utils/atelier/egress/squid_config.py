"""squid.conf consists of the role's frame and the whitelist's section in it.

The frame is ``squid.conf.frame`` in the same folder. ``@whitelist@`` is replaced by the section, and ``@digest@`` by
the digest of the whole file: the running Squid returns it to requests from the host, which shows the configuration that
it applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from .running_squid import SquidText
from .whitelist import find_section, parse_section, render_section

_WHITELIST, _DIGEST = "@whitelist@\n", "@digest@"


@dataclass(frozen=True)
class Configuration(SquidText):
    """The text of a squid.conf, with its whitelist."""

    @classmethod
    def composed(cls, frame: str, entries: Sequence[str]) -> Configuration:
        whole = frame.replace(_WHITELIST, render_section(entries))
        return cls(whole.replace(_DIGEST, hashlib.sha256(whole.encode()).hexdigest()[:16]))

    @property
    def section(self) -> str:
        """The whitelist's section, or an empty text."""
        return find_section(self.text) or ""

    @property
    def entries(self) -> tuple[str, ...]:
        return parse_section(self.section)
