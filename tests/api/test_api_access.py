"""Access to the API: loopback and token, hosts and origins, and odd values of those headers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.api.running import TOKEN, Api, is_error
from tests.waiting import eventually

REMOTE = {"X-Forwarded-For": "203.0.113.9"}
PUBLIC = [("GET", "/api/health", 200), ("GET", "/api/config", 200), ("GET", "/api/limits", 200)]
PUBLIC += [("GET", "/api/workshop/status", 200), ("POST", "/api/workshop/claim", 400)]
PRIVATE = ["/api/projects/", "/api/projects", "/api/jobs", "/api/audit", "/metrics", "/api/openapi.json", "/api/docs"]
PRIVATE += ["/api/nothing", "/api/projects/groups", "/api/workspace/stats", "/api/workshop/claims?password=x"]


def test_loopback_needs_nothing(api: Api) -> None:
    for address in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert api.get("/api/projects/", headers={"X-Forwarded-For": address}).status_code == 200, address


def test_behind_a_proxy_loopback_needs_the_token(own: Callable[..., Api]) -> None:
    """Callers through a proxy on this machine also come from loopback."""
    api = own(loopback_is_operator=False).start()
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "unknown"):
        is_error(api.get("/api/audit", headers={"X-Forwarded-For": address}), 401, "UNAUTHORIZED")
    by_token = {"X-Forwarded-For": "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}
    assert api.get("/api/audit", headers=by_token).status_code == 200
    assert api.get("/api/health", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200
    # Only root can open the API's socket.
    assert api.get("/api/audit").status_code == 200


def test_pages_of_other_sites_read_nothing(api: Api) -> None:
    for path in ("/api/projects/", "/api/workshop/seats", "/pages/jobs", "/metrics", "/api/health"):
        for site in ("same-site", "cross-site"):
            for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("websocket", "empty")):
                sent = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
                assert api.get(path, headers=sent).status_code == 403, (path, sent)
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for sent in (followed, {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Site": "none"}):
        assert api.get("/api/projects/", headers=sent).status_code == 200, sent


def test_others_need_the_token(api: Api) -> None:
    for path in PRIVATE:
        is_error(api.get(path, headers=REMOTE), 401, "UNAUTHORIZED")
    is_error(api.post("/api/projects/create", {"projectName": "x"}, headers=REMOTE), 401, "UNAUTHORIZED")
    for wrong in (
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xfc\xff",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer " + "x" * 10_000,
    ):
        headers = {**REMOTE, "Authorization": wrong.encode("latin-1")}
        is_error(api.get("/api/projects/", headers=headers), 401, "UNAUTHORIZED")
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}"):
        answer = api.get("/api/projects/", headers={**REMOTE, "Authorization": right})
        assert answer.status_code == 200, right


def test_what_tells_of_no_workspace_is_public(api: Api) -> None:
    for method, path, status in PUBLIC:
        assert api.send(method, path, headers=REMOTE).status_code == status


def test_an_address_that_is_none_is_a_strangers(api: Api) -> None:
    """The gateway writes exactly one; whatever else comes did not come through it."""
    for address in (
        "",
        "unknown",
        "127.0.0.1, 203.0.113.9",
        "203.0.113.9, 127.0.0.1",
        "127.0.0.1:80",
        "127.1",
        "0177.0.0.1",
        "localhost",
        "[::1]",
        "127.0.0.1\xa0x",
        "\xff\xfe",
        "9" * 5000,
        "0.0.0.0",  # noqa: S104
        "::",
        "169.254.169.254",
    ):
        answer = api.get("/api/projects/", headers={"X-Forwarded-For": address.encode("latin-1")})
        is_error(answer, 401, "UNAUTHORIZED")
    twice = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "203.0.113.9")]
    is_error(api.get("/api/projects/", headers=twice), 401, "UNAUTHORIZED")


def test_foreign_hosts_are_refused(api: Api) -> None:
    """A request through a foreign name that resolves to this address (DNS rebinding)."""
    for host in (
        "evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "abc123def456.localhost",
        "notlocalhost",
        "127.0.0.2",
        "[::2]",
        "[",
        "[::1",
        "",
        ":80",
        "localhost@evil.example",
        "localhost/evil",
        "localhost evil",
        "\xff",
        "x" * 5000,
    ):
        answer = api.get("/api/projects/", headers={"Host": host.encode("latin-1")})
        is_error(answer, 403, "FORBIDDEN")
    for host in ("localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "localhost."):
        assert api.get("/api/projects/", headers={"Host": host}).status_code == 200, host


def test_changes_from_other_origins_are_refused(api: Api, base: dict[str, Any]) -> None:
    path, body = f"/api/projects/{base['id']}/notes", {"notes": ""}
    for origin in (
        f"http://{base['id']}.localhost",
        f"http://{base['id']}-3000.localhost",
        "http://evil.example",
        "https://localhost",
        "http://localhost:8080",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "null",
        "",
        "localhost",
        "http://[",
        "http://[::1",
        "http://localhost:99999999",
        "\xff\xfe",
        "http://" + "x" * 5000,
        "file://",
    ):
        headers = {"Host": "localhost", "Origin": origin.encode("latin-1")}
        is_error(api.put(path, body, headers=headers), 403, "FORBIDDEN")
        is_error(api.post(f"/api/projects/{base['id']}/stop", headers=headers), 403, "FORBIDDEN")
        is_error(api.delete(f"/api/projects/{base['id']}", headers=headers), 403, "FORBIDDEN")
    assert api.status(base["id"]) == "running"
    for host, origin in (("localhost", "http://localhost"), ("localhost:8080", "http://localhost:8080")):
        assert api.put(path, body, headers={"Host": host, "Origin": origin}).status_code == 200


def test_reads_allow_no_other_origin_to_see_them(api: Api) -> None:
    answer = api.get("/api/projects/", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    answer = api.send("OPTIONS", "/api/projects/", headers=preflight)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.fixture
def open_api(own: Callable[..., Api]) -> Iterator[Api]:
    yield own(api_auth="open").start()


def test_open_to_all_is_said_loudly(open_api: Api) -> None:
    assert open_api.get("/api/projects/", headers=REMOTE).status_code == 200
    assert open_api.get("/api/projects/", headers={"X-Forwarded-For": "nonsense"}).status_code == 200
    assert "API_AUTH=open" in open_api.read_log()
    # Browsers' neighbours stay out.
    headers = {**REMOTE, "Origin": "http://evil.example"}
    is_error(open_api.post("/api/workspace/cleanup", headers=headers), 403, "FORBIDDEN")
    is_error(open_api.get("/api/projects/", headers={"Host": "evil.example"}), 403, "FORBIDDEN")


def test_a_short_token_is_refused_at_the_start(own: Callable[..., Api]) -> None:
    api = own()
    (api.instance.folder / "token").write_text("short\n")
    api.start(wait=False)
    assert api.wait() != 0
    assert "shorter than 32" in api.read_log()


def test_event_streams_of_one_address_are_bounded(api: Api) -> None:
    """A page that opens streams again and again takes neither the API's memory nor others' streams."""

    def follow(address: str) -> tuple[socket.socket, int]:
        connection = socket.create_connection(("127.0.0.1", api.port), timeout=30)
        request = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n"
        connection.sendall(f"{request}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        return connection, int(connection.recv(4096).split()[1])

    with ExitStack() as opened:
        for _ in range(200):
            connection, status = follow("203.0.113.9")
            opened.enter_context(connection)
            assert status == 200
        connection, status = follow("203.0.113.9")
        opened.enter_context(connection)
        assert status == 429
        connection, status = follow("203.0.113.10")
        opened.enter_context(connection)
        assert status == 200

    def is_open_again() -> bool:
        connection, status = follow("203.0.113.9")
        connection.close()
        return status == 200

    eventually(is_open_again, "streams that were closed are counted no more")
