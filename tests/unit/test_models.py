"""The words of the domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from atelier.common.models import Limits
from support import site


@pytest.mark.parametrize(
    ("protocol", "port", "url"),
    [
        ("http", 80, "http://abc.localhost/"),
        ("https", 443, "https://abc.localhost/"),
        ("http", 8080, "http://abc.localhost:8080/"),
        ("https", 80, "https://abc.localhost:80/"),
        ("http", 443, "http://abc.localhost:443/"),
    ],
)
def test_a_port_that_the_protocol_implies_is_left_out(protocol: str, port: int, url: str) -> None:
    assert site(Path("/x"), port=port, protocol=protocol).workspace_url("abc") == url


def test_memory_in_bytes() -> None:
    assert Limits("4g").memory_bytes == 4 * 1024**3
