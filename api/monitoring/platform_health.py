"""Checks whether the platform's services answer, and how the gateway responds for the API and the pages."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from atelier.common.egress_modes import Capability
from atelier.common.errors import AtelierError
from atelier.common.models import CONTROLLER, Site
from atelier.containers.engines import Engines
from atelier.egress.squid_config import ask_proxy
from atelier.gateway.answers import count_answers
from atelier.git.client import open_forge

# Period of the gateway's responses that counts, and the number below which they are not conclusive.
_RECENT_SECONDS = 300.0
_FEW_ANSWERS = 20
# Requests that a proxy refuses without logging: Squid a name reserved for this host, the recorder an invalid one.
_SQUIDS_QUESTION, _RECORDERS_QUESTION = "http://configuration.invalid/", "x"

# Requests for the configuration must not wait for a slow git server.
_GIT_SECONDS = 1.0
_FRESH_SECONDS = 60.0
_GIT_NAMES = {"forgejo": "Forgejo", "embedded": "Atelier git service"}


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
                    number = open_forge(self._site, _GIT_SECONDS).version()
                    self._version = f"{_GIT_NAMES[self._site.git.service]} {'.'.join(number.split('.')[:2])}"
                except AtelierError:
                    self._version = None
                self._asked = time.monotonic()
            return self._version


@dataclass(frozen=True)
class Service:
    """A service of the platform on a machine, by its role's name."""

    name: str
    node: str


class PlatformHealth:
    """``up``: whether a service answered at the last look. ``answers``: the gateway's answers by class of status since
    its last reload; None if it does not answer. ``refusals``: answers of the API whose status the contract fixes as 5xx
    though nothing is wrong; the share of errors leaves them out."""

    def __init__(self, site: Site, engines: Engines, git: GitVersion) -> None:
        self._site = site
        self._engines = engines
        self._git = git
        # Answers and errors of the gateway, as they were at earlier looks.
        self._past: deque[tuple[float, int, int]] = deque()
        self.up: Mapping[Service, bool] = {}
        self.answers: Mapping[str, int] | None = None
        self.looked = False
        self.refusals = 0

    def look(self) -> None:
        """Asks all of them. Takes some seconds if they do not answer."""
        try:
            self.answers = count_answers(self._site.state_dir)
        except AtelierError:
            self.answers = None
        self._remember()
        self.up = self._services()
        self.looked = True

    @property
    def recent_error_share(self) -> float:
        """The share of errors among the gateway's answers for API and pages within five minutes; 0 if they were few."""
        if not self._past:
            return 0.0
        (_, first, first_errors), (_, last, last_errors) = self._past[0], self._past[-1]
        count = last - first
        # A refusal counts here before the gateway has counted it.
        return max(last_errors - first_errors, 0) / count if count >= _FEW_ANSWERS else 0.0

    def _remember(self) -> None:
        if self.answers is None:
            return
        moment, total, errors = time.monotonic(), sum(self.answers.values()), self.answers["5xx"] - self.refusals
        if self._past and total < self._past[-1][1]:  # it was reloaded
            self._past.clear()
        self._past.append((moment, total, errors))
        while self._past[0][0] < moment - _RECENT_SECONDS:
            self._past.popleft()

    def _services(self) -> dict[Service, bool]:
        found: dict[Service, bool] = {}
        for mode, network in self._site.networks.items():
            if mode.proxy and network.proxy_port:
                question = _SQUIDS_QUESTION if mode.can(Capability.WHITELIST) else _RECORDERS_QUESTION
                answer = ask_proxy((network.host_address, network.proxy_port), question)
                found[Service(mode.proxy, CONTROLLER)] = answer is not None
                for node in self._site.nodes:
                    if (runs := self._runs(node.name, mode.proxy)) is not None:
                        found[Service(mode.proxy, node.name)] = runs
        if self._site.git:
            found[Service("git", CONTROLLER)] = self._git.read() is not None
        return found

    def _runs(self, node: str, service: str) -> bool | None:
        """Whether its container on another machine runs; None if that does not answer, which is a finding itself."""
        with suppress(AtelierError):
            container = self._engines.of(node).inspect(f"{self._site.instance}-{service}")
            return container is not None and container.status == "running"
        return None
