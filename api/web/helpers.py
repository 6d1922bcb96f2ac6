"""Shared by the operator's and the workshop's pages."""

from __future__ import annotations

from typing import Any

from atelier.common.egress_modes import Capability

from ..auth.middleware import Caller
from ..services.services import Services
from .i18n import Words


def layout_context(services: Services, caller: Caller, here: str) -> dict[str, Any]:
    """The values that the layout of the operator's pages needs."""
    return {
        "here": here,
        "egress": any(mode.can(Capability.WHITELIST) for mode in services.settings.site.networks),
        "git": services.settings.git_server_enabled,
        # Empty on a single machine: there is nothing to choose.
        "node_names": services.settings.site.node_names if services.settings.site.nodes else (),
        "workshop": bool(services.settings.workshop.admin_password),
        "can_sign_out": caller.name.startswith("signed in"),
    }


def docker_away(services: Services, translator: Words) -> str:
    """The sentence while Docker does not answer."""
    return "" if services.watcher.available else translator("docker.away")
