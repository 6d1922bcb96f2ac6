"""Bodies of the egress calls."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .fields import Group, Text
from .projects import Body, example


class ChangeWhitelist(Body):
    """Domains that shall be reached, besides the base ones. With a group it is the group's own list."""

    model_config = example({"domains": ["api.anthropic.com", "github.com"]})

    domains: list[Text] = Field(examples=[["api.anthropic.com", "github.com"]])
    group: Group | None = None


class WhitelistOfRecorded(Body):
    """Whose whitelist: everybody's, or a group's."""

    model_config = example({"group": "workshop-2026"})

    group: Group | None = None


class GenerateDocumentation(Body):
    """``detailed`` also has tools with their arguments, parameters and reasoning."""

    model_config = example({"format": "markdown", "type": "clean"})

    format: Literal["markdown"] = "markdown"
    type: Literal["clean", "detailed"] = "clean"
