"""What a stranger in a seat finds around the seat."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Platform, Seat


def test_the_platform_s_own_pages_are_closed_to_a_seat(platform: Platform, seat: Callable[..., Seat]) -> None:
    stranger = seat()
    gateway = stranger.address.rsplit(".", 2)[0] + ".0.1"
    asked = f"curl -s -o /dev/null -m 10 -w '%{{http_code}}' -H 'Host: localhost' http://{gateway}:18091/api/projects"
    assert stranger.run(asked) == "403"
    assert platform.api.get("/api/projects").status_code == 200
