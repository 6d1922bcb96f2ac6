"""What Docker answers, as errors of Atelier."""

from __future__ import annotations

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.engine.docker_errors import Place, translated
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
