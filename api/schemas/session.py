"""Bodies of the sign-in."""

from __future__ import annotations

from pydantic import Field

from .common import Body, example
from .fields import Text


class SignIn(Body):
    """Exactly one of the two: the API's token for the operator, the workshop's password for its page."""

    model_config = example({"token": "the-token-of-this-installation"})

    token: Text | None = None
    workshop_password: Text | None = Field(default=None, examples=["workshop-password"])
