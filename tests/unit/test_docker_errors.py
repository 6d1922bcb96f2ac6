"""Docker's responses as errors of Atelier."""

from __future__ import annotations

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.engine.docker_errors import Place, is_engine_away, translated
from docker.errors import APIError


@pytest.mark.parametrize(
    ("explanation", "code"),
    [
        # Word for word what Docker 26.1 answers while containerd is down.
        (
            'cannot remove container "/p2": could not kill: tried to kill container, but did not receive an exit event',
            Code.SERVICE_UNAVAILABLE,
        ),
        (
            'connection error: desc = "transport: Error while dialing: dial unix /run/containerd/containerd.sock: '
            'connect: connection refused": unavailable',
            Code.SERVICE_UNAVAILABLE,
        ),
        ("mkdir /data: no space left on device", Code.DISK_FULL),
        ("network x not found", Code.ENGINE_ERROR),
    ],
)
def test_docker_without_its_containerd_is_away(explanation: str, code: Code) -> None:
    """Only then does a job run again instead of ending with an error."""
    with (
        pytest.raises(AtelierError) as raised,
        translated(Place("unix:///run/docker.sock"), Message("do.pause", container="x")),
    ):
        raise APIError("500 Server Error", explanation=explanation)
    assert raised.value.code is code
    assert is_engine_away(raised.value) is (code is Code.SERVICE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (Place("unix:///run/docker.sock").unreachable("ConnectionError"), True),
        (Place("tcp://198.51.100.7:2376", "alpha").unreachable("ConnectionError"), False),
        (AtelierError(Code.SERVICE_UNAVAILABLE, Message("git.not_installed"), field="site.git"), False),
        (AtelierError(Code.SERVICE_UNAVAILABLE, Message("squid.not_running", container="x")), False),
    ],
)
def test_other_services_that_are_away_are_not_docker(error: AtelierError, is_away: bool) -> None:
    assert is_engine_away(error) is is_away
