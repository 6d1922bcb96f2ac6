"""A port's form, its password, and sharing: requests of strangers and participants are limited."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.passwords import hash_password

from api.auth.alias_auth import AliasAuth
from api.auth.audit import Audit
from api.auth.middleware import Caller
from api.core.rate_limit import Limiter
from api.routers.ports import password_in, unshare
from api.schemas.aliases import SharePort
from api.services.services import Services

ID = "0123456789ab"
STRANGER = Caller("203.0.113.9", "203.0.113.9")


def test_the_password_of_a_form() -> None:
    assert password_in(b"password=it+is%C3%A4&x=1") == "it is\u00e4"
    assert password_in(b"x=1") == password_in(b"") == password_in(b"\xff") == ""


def test_a_form_of_a_mebibyte_is_not_read() -> None:
    assert password_in(b"password=right&" + b"a=1&" * 250_000) == ""


def services(folder: Path) -> Services:
    row = SimpleNamespace(id=ID, password_hash=hash_password("the-right-one"))
    parts: dict[str, Any] = {
        "row": lambda _: row,
        "audit": Audit(folder),
        "alias_auth": AliasAuth(),
        "shares": Limiter(3, "too_many.port_changes"),
        "store": None,
        "sync_ports": lambda: None,
        "settings": SimpleNamespace(site=SimpleNamespace(workspace_url=lambda name: name)),
    }
    return cast(Services, SimpleNamespace(**parts))


def test_sharing_in_a_loop_is_bounded_and_displaces_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.services.ports.unshare_ports", lambda *_: True)

    async def tried(parts: Services, password: str) -> Code | None:
        try:
            await unshare(ID, 3000, parts, STRANGER, SharePort(password=password))
        except AtelierError as error:
            return error.code
        return None

    async def day() -> list[Code | None]:
        parts = services(tmp_path)
        wrong = [await tried(parts, "wrong") for _ in range(3)]
        return wrong + [await tried(parts, "the-right-one") for _ in range(5)]

    refused, late = Code.INVALID_WORKSPACE_PASSWORD, Code.TOO_MANY_ATTEMPTS
    assert asyncio.run(day()) == [refused, refused, refused, None, None, None, late, late]
    assert not (tmp_path / "audit" / "audit.log").exists()
