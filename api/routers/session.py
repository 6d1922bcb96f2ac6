"""Sign-in and sign-out for browsers: exchanges a token or a password for a cookie that no script and no other host can
read."""

from __future__ import annotations

import asyncio
import hmac

from atelier.common.errors import AtelierError, Code, invalid
from atelier.common.messages import Message
from fastapi import APIRouter, Request, Response

from ..auth.browsers import cookie_name, cookies_of, set_cookie
from ..auth.middleware import Caller
from ..auth.sessions import LIFETIME_SECONDS, Role
from ..core.openapi import errors
from ..core.responses import JSON, Route
from ..dependencies import CurrentCaller, ServicesDep
from ..schemas.common import Done
from ..schemas.system import SignIn
from ..services.services import Services

router = APIRouter(route_class=Route, prefix="/api/session", tags=["system"])


@router.post("", response_model=Done, responses=errors(429))
async def sign_in(body: SignIn, request: Request, services: ServicesDep, caller: CurrentCaller) -> Response:
    """Checks the token or the workshop's password, and sets a session cookie, valid for twelve hours."""
    if (body.token is None) is (body.workshop_password is None):
        raise invalid("input.exactly_one", "token", names="token, workshopPassword")
    role = Role.OPERATOR if body.token is not None else Role.WORKSHOP
    try:
        if body.token is not None:
            _check_token(services, caller, body.token.strip())
        else:
            services.admin_password.check(caller.address, request.headers, [body.workshop_password or ""])
    except AtelierError as error:
        services.audit.refuse(caller, "sign-in", error.code, role=role)
        raise
    id = await asyncio.to_thread(services.sessions.open, role)
    services.audit.write(caller.name, "sign-in", None, "successful", role=role)
    answer = JSON({"success": True, "message": "Signed in"})
    set_cookie(answer, role, id, LIFETIME_SECONDS, services.settings.site.protocol)
    if role is Role.WORKSHOP:
        services.admin_password.browsers.remember(answer)
    return answer


@router.delete("", response_model=Done, responses=errors())
async def sign_out(request: Request, services: ServicesDep, caller: CurrentCaller) -> Response:
    """Ends all sessions whose cookies the browser sends; the cookies are worth nothing from then on."""
    answer = JSON({"success": True, "message": "Signed out"})
    sent = cookies_of(request.headers)
    closed = 0
    for role in Role:
        name = cookie_name(role, services.settings.site.protocol)
        if name in sent:
            closed += await asyncio.to_thread(services.sessions.close, role, sent[name])
            secure = services.settings.site.protocol == "https"
            answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")
    # Anybody may call this, so a call that ended nothing gets no line.
    if closed:
        services.audit.write(caller.name, "sign-out", None, "successful")
    return answer


def _check_token(services: Services, caller: Caller, token: str) -> None:
    """Compares before counting: a random token cannot be guessed, so the right one is accepted at any rate of wrong
    ones from the same address. The limit stops programs with a wrong token from trying continuously."""
    if hmac.compare_digest(token.encode(errors="replace"), services.settings.token.encode()):
        return
    services.sign_ins.check(caller.address)
    services.sign_ins.count(caller.address)
    raise AtelierError(Code.UNAUTHORIZED, Message("api.token_wrong"), field="token")
