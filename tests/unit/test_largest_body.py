"""The maximum size of requests: small for unauthenticated callers, because bodies are read before authentication."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api.auth.middleware import Caller, largest_body
from api.schemas.seats import MakeCards

STRANGER = Caller("203.0.113.9", "203.0.113.9")
OPERATOR = Caller("127.0.0.1", "loopback", operator=True)
ADMIN = Caller("203.0.113.9", "203.0.113.9", workshop_admin=True)
SHARE = "/api/projects/0123456789ab/ports/3000/share"


@pytest.mark.parametrize(
    "path",
    [
        *("/api/workshop/claim", "/pages/workshop/told", "/api/session", "/api/session/", SHARE),
        "/api/ports/0123456789ab-3000/sign-in",
    ],
)
def test_what_anybody_may_send_is_small(path: str) -> None:
    assert largest_body(STRANGER, path) == 16 * 1024
    assert largest_body(OPERATOR, path) == largest_body(ADMIN, path) == 1024**2 - 1


def test_who_was_let_in_may_send_more() -> None:
    # By the admin's password in a header: the gatekeeper has compared it.
    assert largest_body(STRANGER, "/api/workshop/cards") == 1024**2 - 1


def test_a_list_of_seats_ends() -> None:
    with pytest.raises(ValidationError) as error:
        MakeCards.model_validate({"newPasswords": True, "projectIds": [1] * 400_000})
    assert error.value.error_count() <= 1001
