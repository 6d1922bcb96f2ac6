"""Routes of the workshop's pages, for participants and the admin."""

from __future__ import annotations

from typing import Annotated, Any

from atelier.common.errors import AtelierError, Code
from fastapi import APIRouter, Body, Depends, Response

from ...core.responses import JSON
from ...dependencies import CurrentCaller, Services, ServicesDep
from ...routers import seats as seats_api
from ...routers import workshop as workshop_api
from ...routers import workshop_teardown as teardown_api
from ...schemas.seats import MakeCards, Seat
from ..error_pages import PageRoute
from ..helpers import docker_away, layout_context
from ..i18n import Words
from ..presenters import workshop, workshop_teardown
from ..templating import TranslatorDep, page


async def _workshop_admin(services: ServicesDep, caller: CurrentCaller) -> None:
    if not services.settings.workshop.admin_password:
        raise AtelierError(Code.FORBIDDEN, "This installation has no workshop password.", reason="ADMIN_OFF")
    if not caller.workshop_admin:
        raise AtelierError(Code.UNAUTHORIZED, "This page is for the workshop's admin.")


for_all = APIRouter(route_class=PageRoute, include_in_schema=False)
for_workshop = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(_workshop_admin)])


@for_all.get("/workshop")
async def workshop_page(services: ServicesDep, translator: TranslatorDep) -> Response:
    """Where participants get their seat; it tells of no workspace."""
    status = await workshop_api.get_workshop_status(services)
    configured = services.settings.workshop
    return page(
        "workshop.html",
        translator,
        places=workshop.places(status, workshop.moment(), translator),
        needs_code=bool(configured.access_code),
        has_passwords=configured.generate_passwords,
    )


@for_workshop.get("/workshop/admin")
async def workshop_admin_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """The seats, first without their activity, which the page then loads."""
    rows = services.read_claims.seats()
    found = seats_api.seats(services, rows, {})
    address = f"{services.settings.base_url}/workshop"
    surroundings = {**layout_context(services, caller, "workshop"), "is_operator": caller.operator}
    told = workshop.at_release(services.settings.workshop, services.settings.reset_keep_hours, translator)
    shown = await _seats(services, found, translator)
    return page("admin.html", translator, address=address, at_release=told, **surroundings, **shown)


@for_workshop.get("/pages/workshop/seats")
async def seats_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    found = (await seats_api.list_seats(services))["seats"]
    return page("seats.html", translator, **await _seats(services, found, translator))


@for_workshop.get("/pages/workshop/rehearsal")
async def rehearsal_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    answer = await workshop_api.last_rehearsal(services)
    return page("rehearsal.html", translator, rehearsal=workshop.rehearsal(answer, translator))


@for_workshop.get("/pages/workshop/ending")
async def ending_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    answer = await teardown_api.collected_work(services)
    return page("ending.html", translator, ending=workshop_teardown.ending(answer, translator))


@for_workshop.post("/pages/workshop/cards")
async def cards_fragment(
    services: ServicesDep,
    caller: CurrentCaller,
    translator: TranslatorDep,
    body: Annotated[MakeCards | None, Body()] = None,
) -> Response:
    """The one page that shows passwords: they are new, and it is not kept anywhere."""
    made = await seats_api.cards(services, caller, body or MakeCards())
    return page("cards.html", translator, **workshop.cards(made, translator))


@for_all.post("/pages/workshop/told")
async def translate(translator: TranslatorDep, codes: Annotated[Any, Body()]) -> Response:
    """The sentences of an API answer in the reader's language, by its ``codes``."""
    return JSON(translator.translate_codes(codes))


async def _seats(services: Services, found: list[Seat], translator: Words) -> dict[str, Any]:
    claims = await workshop_api.list_claims(services)
    ids = {seat["projectId"] for seat in found}
    faults = {row.id: services.presenter.fault(row) for row in services.reads.all() if row.id in ids}
    return {
        "seats": workshop.seats(found, faults, workshop.moment(), translator),
        "history": workshop.history(claims["history"]),
        "group": services.settings.workshop.group,
        "docker": docker_away(services, translator),
    }
