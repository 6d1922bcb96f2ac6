"""Errors of the Docker SDK, and of the libraries below it, as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.plain_text import last_of

LONGEST_REASON = 1000
# The setting that an error about the controller's engine names.
_ENGINE_FIELD = "site.engine_url"
# Docker's messages while its containerd is down, which it restarts itself. It misses the end of a container that is
# stopped meanwhile; a retry stops that container.
_WITHOUT_CONTAINERD = ("containerd.sock", "did not receive an exit event", "transport is closing")


@dataclass(frozen=True)
class Place:
    """Where an engine is: its URL, and the node's name if that is not the controller."""

    url: str
    node: str = ""

    def unreachable(self, kind: str) -> AtelierError:
        """SERVICE_UNAVAILABLE for the controller's engine, without which nothing goes on; NODE_UNAVAILABLE else."""
        if not self.node:
            away = Message("docker.away", url=self.url, kind=kind)
            return AtelierError(Code.SERVICE_UNAVAILABLE, away, field=_ENGINE_FIELD)
        away = Message("docker.node_away", node=self.node, url=self.url, kind=kind)
        return AtelierError(Code.NODE_UNAVAILABLE, away, field="site.nodes", node=self.node)

    def left_swarm(self) -> AtelierError:
        """NODE_UNAVAILABLE for a machine that Docker Swarm no longer has."""
        left = Message("docker.node_left", node=self.node)
        return AtelierError(Code.NODE_UNAVAILABLE, left, field="site.nodes", node=self.node)


def is_engine_away(error: AtelierError) -> bool:
    """Whether the controller's Docker Engine did not answer. The git server and Squid raise the same code."""
    return error.code is Code.SERVICE_UNAVAILABLE and error.details.get("field") == _ENGINE_FIELD


@contextmanager
def translated(
    engine: Place,
    attempt: str,
    code: Code = Code.ENGINE_ERROR,
    *,
    absent: type[Exception] | None = None,
    reraise: type[Exception] | None = None,
) -> Iterator[None]:
    """Docker's errors as ours. ``attempt`` is what the block does. ``absent`` is one that means
    "not there" and ends the block quietly; ``reraise`` is passed on."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    try:
        yield
    except DockerException as error:
        if absent and isinstance(error, absent):
            return
        if reraise and isinstance(error, reraise):
            raise
        if not isinstance(error, APIError):
            raise engine.unreachable(type(error).__name__) from error
        # A path in it may be a seat's.
        reason = last_of(str(error.explanation or error), LONGEST_REASON)
        if any(words in reason for words in _WITHOUT_CONTAINERD):
            raise AtelierError(
                Code.NODE_UNAVAILABLE if engine.node else Code.SERVICE_UNAVAILABLE,
                Message("docker.without_containerd", attempt=attempt, reason=reason.rstrip(".")),
                field="site.nodes" if engine.node else _ENGINE_FIELD,
            ) from error
        if "no space left on device" in reason or "disk quota exceeded" in reason:
            raise AtelierError(Code.DISK_FULL, Message("docker.disk_full", attempt=attempt)) from error
        raise AtelierError(code, Message("docker.refused", attempt=attempt, reason=reason.rstrip("."))) from error
    except requests.exceptions.ReadTimeout as error:
        # Docker is there. A container that is being read or removed keeps it from answering about that one.
        raise AtelierError(code, Message("docker.too_long", attempt=attempt), limit="seconds") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise engine.unreachable(type(error).__name__) from error
