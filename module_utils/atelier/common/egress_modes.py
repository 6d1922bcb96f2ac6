"""The table of egress modes, the only place that names them. All other code asks a mode for its properties and
capabilities.

The inventory's ``atelier_egress_modes`` says what each mode needs on the host (network, port, files).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self


class Capability(StrEnum):
    """An ability of a mode's proxy."""

    LOG = "log"  # writes each, also a refused one, to an access log in Squid's format
    RECORD = "record"  # records domains and LLM conversations
    WHITELIST = "whitelist"  # lets only those to domains of the whitelist through


class ProxyMode(StrEnum):
    """A workspace's proxy mode. Each mode has its own network.

    ``proxy``: the role that runs the mode's proxy, also the proxy's folder in the state folder; None: the way out is
    direct. ``intercepts``: whether the proxy opens TLS, so that seats must trust its ``ca.pem``.
    """

    proxy: str | None
    intercepts: bool
    capabilities: frozenset[Capability]

    def __new__(cls, name: str, proxy: str | None = None, intercepts: bool = False, *can: Capability) -> Self:
        mode = str.__new__(cls, name)
        mode._value_ = name
        mode.proxy, mode.intercepts, mode.capabilities = proxy, intercepts, frozenset(can)
        return mode

    # name, proxy, intercepts, capabilities
    NONE = "none"
    LOGGING = "logging", "recorder", True, Capability.RECORD
    SECURITY = "security", "squid", False, Capability.LOG, Capability.WHITELIST

    def can(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def proxy_folder(self, state_dir: Path) -> Path:
        """The folder of the mode's proxy. Only for a mode that has one."""
        if self.proxy is None:
            raise ValueError(f"the mode {self} has no proxy")
        return state_dir / self.proxy


DEFAULT_MODE = ProxyMode.NONE
# The mode for clients that know only one proxy (``useProxy``).
USE_PROXY_MODE = ProxyMode.LOGGING
PROXIED_MODES = tuple(mode for mode in ProxyMode if mode.proxy)


def modes_that_can(capability: Capability) -> tuple[ProxyMode, ...]:
    return tuple(mode for mode in ProxyMode if mode.can(capability))
