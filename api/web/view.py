"""The inputs of every page: the API's services, the caller, and the words of the caller's language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from atelier.common.egress_modes import Capability
from fastapi import Depends, Header, Request, Response

from ..auth.middleware import Caller
from ..dependencies import CurrentCaller, ServicesDep
from ..services.services import Services
from .i18n import Words, choose_language, words
from .templating import page


@dataclass(frozen=True)
class View:
    services: Services
    caller: Caller
    translator: Words
    # Whether only the part of a page is wanted that its script loads again.
    part: bool

    def show(self, template: str, **values: Any) -> Response:
        """The template as an answer."""
        return page(template, self.translator, **values)

    def page(self, template: str, here: str, part: str = "", **values: Any) -> Response:
        """One of the operator's pages. ``here``: the name of its place in the navigation. ``part``: the template of its
        part that is loaded again, under /pages."""
        if part and self.part:
            return self.show(part, **values)
        settings = self.services.settings
        return self.show(
            template,
            here=here,
            egress=any(mode.can(Capability.WHITELIST) for mode in settings.site.networks),
            git=settings.git_server_enabled,
            # Empty on a single machine: there is nothing to choose.
            node_names=settings.site.node_names if settings.site.nodes else (),
            workshop=bool(settings.workshop.admin_password),
            can_sign_out=self.caller.name.startswith("signed in"),
            **values,
        )

    @property
    def docker_away(self) -> str:
        """The sentence while Docker does not answer."""
        return "" if self.services.watcher.available else self.translator("docker.away")


async def _view(
    request: Request, services: ServicesDep, caller: CurrentCaller, accept_language: Annotated[str, Header()] = ""
) -> View:
    part = request.url.path.startswith("/pages/")
    return View(services, caller, words(choose_language(accept_language)), part)


ViewDep = Annotated[View, Depends(_view)]
