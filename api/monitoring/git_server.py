"""The git server's version, refreshed now and then."""

from __future__ import annotations

import threading
import time

from atelier.common.errors import AtelierError
from atelier.common.models import Site
from atelier.git.client import open_forge

# Requests for the configuration must not wait for a slow git server.
_TIMEOUT_SECONDS = 1.0
_FRESH_SECONDS = 60.0
_NAMES = {"forgejo": "Forgejo", "embedded": "Atelier git service"}


class GitVersion:
    """May be asked by several threads; one of them asks the server."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._asked = -_FRESH_SECONDS
        self._version: str | None = None

    def read(self) -> str | None:
        """Such as ``Forgejo 9.0``; None if the server does not answer or is not installed."""
        if self._site.git is None:
            return None
        with self._lock:
            if time.monotonic() - self._asked >= _FRESH_SECONDS:
                try:
                    number = open_forge(self._site, _TIMEOUT_SECONDS).version()
                    self._version = f"{_NAMES[self._site.git.service]} {'.'.join(number.split('.')[:2])}"
                except AtelierError:
                    self._version = None
                self._asked = time.monotonic()
            return self._version
