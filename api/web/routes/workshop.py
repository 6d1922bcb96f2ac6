"""Routes of the workshop's pages, for participants and the admin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from fastapi import APIRouter, Body, Depends, Request, Response

from ...core.responses import JSON
from ...dependencies import CurrentCaller, ServicesDep
from ...schemas.seats import MakeCards, Seat
from ...services.seats import active_seats, cards, seats
from ...services.visits import wake_seats_of
from ...services.workshop import ended_views, newest_rehearsal, status
from ...services.workshop_teardown import collected
from ..error_pages import PageRoute
from ..presenters import workshop, workshop_teardown
from ..view import View, ViewDep


async def _workshop_admin(services: ServicesDep, caller: CurrentCaller) -> None:
    if not services.settings.workshop.admin_password:
        raise AtelierError(Code.FORBIDDEN, Message("api.no_admin_password"), reason="ADMIN_OFF")
    if not caller.workshop_admin:
        raise AtelierError(Code.UNAUTHORIZED, Message("api.admin_password_missing"))


for_all = APIRouter(route_class=PageRoute, include_in_schema=False)
for_workshop = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(_workshop_admin)])


@for_all.get("/workshop")
async def workshop_page(request: Request, view: ViewDep) -> Response:
    """Shows the page where participants claim a seat; it reveals no workspace. The seat that this browser claimed
    starts if it sleeps."""
    services = view.services
    configured = services.settings.workshop
    browser = services.claimants.known(request.headers)
    if browser is not None:
        wake_seats_of(services, browser, view.caller.address)
    return view.show(
        "workshop.html",
        places=workshop.places(await status(services), datetime.now(UTC), view.translator),
        needs_code=bool(configured.access_code),
        has_passwords=configured.generate_passwords,
    )


@for_workshop.get("/workshop/admin")
async def workshop_admin_page(view: ViewDep) -> Response:
    """The seats, first without their activity, which the page then loads."""
    settings = view.services.settings
    return view.page(
        "admin.html",
        "workshop",
        address=f"{settings.base_url}/workshop",
        at_release=workshop.at_release(settings.workshop, settings.reset_keep_hours, view.translator),
        is_operator=view.caller.operator,
        **await _seats(view, seats(view.services, view.services.read_claims.seats(), {})),
    )


@for_workshop.get("/pages/workshop/seats")
async def seats_fragment(view: ViewDep) -> Response:
    return view.show("seats.html", **await _seats(view, await active_seats(view.services)))


@for_workshop.get("/pages/workshop/rehearsal")
async def rehearsal_fragment(view: ViewDep) -> Response:
    return view.show("rehearsal.html", rehearsal=workshop.rehearsal(newest_rehearsal(view.services), view.translator))


@for_workshop.get("/pages/workshop/ending")
async def ending_fragment(view: ViewDep) -> Response:
    ending = workshop_teardown.ending(await collected(view.services), view.translator)
    return view.show("workshop_teardown.html", ending=ending)


@for_workshop.post("/pages/workshop/cards")
async def cards_fragment(view: ViewDep, body: Annotated[MakeCards | None, Body()] = None) -> Response:
    """The one page that shows passwords: they are new, and it is not kept anywhere."""
    made = await cards(view.services, view.caller, body or MakeCards())
    return view.show("cards.html", cards=made, qr_code=workshop.qr_code)


@for_all.post("/pages/workshop/told")
async def told(view: ViewDep, codes: Annotated[Any, Body()]) -> Response:
    """The sentences of an API answer in the reader's language, by its ``codes``."""
    return JSON(view.translator.translate_codes(codes))


async def _seats(view: View, found: list[Seat]) -> dict[str, Any]:
    services = view.services
    ended = await asyncio.to_thread(services.read_claims.ended)
    ids = {seat["projectId"] for seat in found}
    faults = {row.id: services.presenter.fault(row) for row in services.reads.all() if row.id in ids}
    return {
        "seats": workshop.seats(found, faults, datetime.now(UTC)),
        "history": ended_views(services.settings.site, ended),
        "group": services.settings.workshop.group,
        "docker": view.docker_away,
    }
