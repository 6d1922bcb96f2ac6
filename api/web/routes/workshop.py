"""Routes of the workshop's pages, for participants and the admin."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from fastapi import APIRouter, Body, Depends, Request, Response

from ...core.responses import JSON
from ...dependencies import CurrentCaller, ServicesDep
from ...schemas.seats import MakeCards, Seat
from ...services.seats import active_seats, cards, seats
from ...services.services import Services
from ...services.visits import wake_seats_of
from ...services.workshop import ended_views, newest_rehearsal, status
from ...services.workshop_teardown import collected
from ..error_pages import PageRoute
from ..helpers import docker_away, layout_context
from ..i18n import Words
from ..presenters import workshop, workshop_teardown
from ..templating import TranslatorDep, page


async def _workshop_admin(services: ServicesDep, caller: CurrentCaller) -> None:
    if not services.settings.workshop.admin_password:
        raise AtelierError(Code.FORBIDDEN, Message("api.no_admin_password"), reason="ADMIN_OFF")
    if not caller.workshop_admin:
        raise AtelierError(Code.UNAUTHORIZED, Message("api.admin_password_missing"))


for_all = APIRouter(route_class=PageRoute, include_in_schema=False)
for_workshop = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(_workshop_admin)])


@for_all.get("/workshop")
async def workshop_page(
    request: Request, services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep
) -> Response:
    """Shows the page where participants claim a seat; it reveals no workspace. The seat that this browser claimed
    starts if it sleeps."""
    configured = services.settings.workshop
    browser = services.claimants.known(request.headers)
    if browser is not None:
        wake_seats_of(services, browser, caller.address)
    return page(
        "workshop.html",
        translator,
        places=workshop.places(await status(services), workshop.moment(), translator),
        needs_code=bool(configured.access_code),
        has_passwords=configured.generate_passwords,
    )


@for_workshop.get("/workshop/admin")
async def workshop_admin_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """The seats, first without their activity, which the page then loads."""
    found = seats(services, services.read_claims.seats(), {})
    address = f"{services.settings.base_url}/workshop"
    surroundings = {**layout_context(services, caller, "workshop"), "is_operator": caller.operator}
    told = workshop.at_release(services.settings.workshop, services.settings.reset_keep_hours, translator)
    shown = await _seats(services, found, translator)
    return page("admin.html", translator, address=address, at_release=told, **surroundings, **shown)


@for_workshop.get("/pages/workshop/seats")
async def seats_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("seats.html", translator, **await _seats(services, await active_seats(services), translator))


@for_workshop.get("/pages/workshop/rehearsal")
async def rehearsal_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("rehearsal.html", translator, rehearsal=workshop.rehearsal(newest_rehearsal(services), translator))


@for_workshop.get("/pages/workshop/ending")
async def ending_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page(
        "workshop_teardown.html", translator, ending=workshop_teardown.ending(await collected(services), translator)
    )


@for_workshop.post("/pages/workshop/cards")
async def cards_fragment(
    services: ServicesDep,
    caller: CurrentCaller,
    translator: TranslatorDep,
    body: Annotated[MakeCards | None, Body()] = None,
) -> Response:
    """The one page that shows passwords: they are new, and it is not kept anywhere."""
    made = await cards(services, caller, body or MakeCards())
    return page("cards.html", translator, **workshop.cards(made, translator))


@for_all.post("/pages/workshop/told")
async def told(translator: TranslatorDep, codes: Annotated[Any, Body()]) -> Response:
    """The sentences of an API answer in the translator's language, by its ``codes``."""
    return JSON(translator.translate_codes(codes))


async def _seats(services: Services, found: list[Seat], translator: Words) -> dict[str, Any]:
    ended = await asyncio.to_thread(services.read_claims.ended)
    ids = {seat["projectId"] for seat in found}
    faults = {row.id: services.presenter.fault(row) for row in services.reads.all() if row.id in ids}
    return {
        "seats": workshop.seats(found, faults, workshop.moment(), translator),
        "history": workshop.history(ended_views(services.settings.site, ended)),
        "group": services.settings.workshop.group,
        "docker": docker_away(services, translator),
    }
