"""Translates errors of the Docker SDK, and of the libraries below it, to AtelierError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.plain_text import last_of

if TYPE_CHECKING:
    from docker.errors import APIError

LONGEST_REASON = 1000
# The setting that an error about the controller's engine names.
_ENGINE_FIELD = "site.engine_url"
# Docker's messages while its containerd is down, which it restarts itself. If a container is stopped at that time,
# Docker misses its end; a retry stops it.
_WITHOUT_CONTAINERD = ("containerd.sock", "did not receive an exit event", "transport is closing")


@dataclass(frozen=True)
class Place:
    """The location of an engine: its URL, and the name of the node; empty for the controller."""

    url: str
    node: str = ""

    def unavailable(self, why: Message) -> AtelierError:
        """SERVICE_UNAVAILABLE for the controller's engine, which everything needs, else NODE_UNAVAILABLE."""
        if not self.node:
            return AtelierError(Code.SERVICE_UNAVAILABLE, why, field=_ENGINE_FIELD)
        return AtelierError(Code.NODE_UNAVAILABLE, why, field="site.nodes", node=self.node)

    def unreachable(self, kind: str) -> AtelierError:
        if not self.node:
            return self.unavailable(Message("docker.away", url=self.url, kind=kind))
        return self.unavailable(Message("docker.node_away", node=self.node, url=self.url, kind=kind))


def is_engine_away(error: AtelierError) -> bool:
    """Whether the controller's Docker Engine did not answer. The git server and Squid raise the same code."""
    return error.code is Code.SERVICE_UNAVAILABLE and error.details.get("field") == _ENGINE_FIELD


@contextmanager
def translated(
    engine: Place,
    attempt: Message,
    code: Code = Code.ENGINE_ERROR,
    *,
    absent: Callable[[APIError], bool] = lambda _: False,
) -> Iterator[None]:
    """Translates Docker's errors in the block to AtelierError. ``attempt`` describes the block. An error that means
    "does not exist", according to ``absent``, ends the block silently."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        if absent(error):
            return
        # The text may contain a path that a seat chose.
        reason = last_of(str(error.explanation or error), LONGEST_REASON)
        if any(words in reason for words in _WITHOUT_CONTAINERD):
            why = Message("docker.without_containerd", attempt=attempt, reason=reason.rstrip("."))
            raise engine.unavailable(why) from error
        if "no space left on device" in reason or "disk quota exceeded" in reason:
            raise AtelierError(Code.DISK_FULL, Message("docker.disk_full", attempt=attempt)) from error
        raise AtelierError(code, Message("docker.refused", attempt=attempt, reason=reason.rstrip("."))) from error
    except requests.exceptions.ReadTimeout as error:
        # Docker runs, but cannot answer about a container that is being read or removed.
        raise AtelierError(code, Message("docker.too_long", attempt=attempt), limit="seconds") from error
    except (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise engine.unreachable(type(error).__name__) from error
