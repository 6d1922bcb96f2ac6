"""Bad input: every field of every body in every bad way. Each answer is a documented 4xx; nothing is ever 5xx."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.running import Api, is_error

PASSWORD = "right-password-1"
MIB = 1024**2
MISSING = object()

ANY_TYPE: list[Any] = [170, 2.5, True, [], ["x"], {}, {"a": 1}, -(10**30), 1e300]
TEXTS = {
    "empty": "",
    "spaces": "   ",
    "control characters": "abc\x07def-12345",
    "newline": "abc\ndef-12345",
    "NUL": "abcdef\x00-12345",
    "lone surrogate": "abcdef\ud800-12345",
    "other lone surrogate": "\udfff" * 12,
    "emoji": "🙂" * 12,
    "right to left": "‮abcdefgh",
    "quotes": "a'b\"c`d$(id);e|f",
    "template": "{{ 7 * 7 }}-{% raw %}",
    "path": "../../etc/passwd",
    "full-width": "ａｂｃｄｅｆｇｈ",  # noqa: RUF001
    "combining": "é" * 12,
    "long": "x" * 5000,
    "huge": "x" * 900_000,
}
# What of the above a field takes, as the contract has it; all else must be refused.
PASSWORDS = {"spaces 8", "emoji", "right to left", "quotes", "template", "path", "full-width", "combining"}
NOTES = {key for key in TEXTS if key not in ("lone surrogate", "other lone surrogate", "huge", "NUL")}

# Body fields by route: what is right, then for each field whether it may be null or missing, and the texts it takes.
FIELDS: dict[tuple[str, str], tuple[dict[str, Any], dict[str, tuple[bool, bool, set[str]]]]] = {
    ("POST", "/api/projects/create"): (
        # The name is taken, so that what should have been refused makes nothing.
        {"projectName": "base-of-all", "projectType": "empty"},
        {
            "projectName": (False, False, set()),
            "projectType": (False, False, set()),
            "passwordProtected": (True, True, set()),
            "password": (True, True, PASSWORDS),
            "createGitRepo": (True, True, set()),
            "gitUrl": (True, True, {"empty"}),
            "gitToken": (True, True, {"empty"}),
            "proxyMode": (True, True, set()),
            "useProxy": (True, True, set()),
            "memoryLimit": (True, True, set()),
            "cpuCores": (True, True, set()),
            "group": (True, True, {"spaces"}),
            "notes": (True, True, NOTES),
        },
    ),
    ("PUT", "/api/projects/{id}/notes"): ({"notes": ""}, {"notes": (False, False, NOTES)}),
    ("PUT", "/api/projects/{id}/name"): ({"name": "base-of-all"}, {"name": (False, False, set())}),
    ("PUT", "/api/projects/{id}/group"): ({"group": "school"}, {"group": (True, False, {"spaces"})}),
    ("POST", "/api/projects/{secret}/clone"): (
        {"count": 0},  # never right, so that none is made
        {"count": (False, False, set()), "password": (True, True, PASSWORDS)},
    ),
    ("PUT", "/api/projects/{secret}/password"): (
        {"currentPassword": None, "newPassword": "new-password-1"},  # the current one is missing: nothing changes
        {
            "currentPassword": (True, True, set(TEXTS)),
            "newPassword": (False, False, PASSWORDS),
            "removePassword": (True, True, set()),
        },
    ),
    ("POST", "/api/projects/{secret}/stop"): ({}, {"password": (True, True, set(TEXTS))}),
    ("POST", "/api/projects/{secret}/start"): ({}, {"password": (True, True, set(TEXTS))}),
    ("DELETE", "/api/projects/{secret}"): ({}, {"password": (True, True, set(TEXTS))}),
}


@pytest.fixture(scope="module")
def secret(api: Api) -> Iterator[dict[str, Any]]:
    made = api.create("hands-off", passwordProtected=True, password=PASSWORD)
    yield made
    assert api.put(f"/api/projects/{made['id']}/notes", {"notes": ""}).status_code == 200, "it survived"
    api.instance.forget(made)


@pytest.mark.parametrize(("method", "path"), FIELDS)
def test_every_field_in_every_bad_way(
    api: Api, base: dict[str, Any], secret: dict[str, Any], method: str, path: str
) -> None:
    right, fields = FIELDS[method, path]
    address = path.format(id=base["id"], secret=secret["id"])
    before = api.get("/api/projects/").json()["count"]
    for field, (null, absent, texts) in fields.items():
        cases: list[tuple[str, Any, bool]] = [("missing", MISSING, absent), ("null", None, null)]
        cases += [(f"type {value!r}", value, _takes(field, value)) for value in ANY_TYPE]
        cases += [(kind, text, kind in texts) for kind, text in TEXTS.items()]
        for kind, value, good in cases:
            body = {key: content for key, content in right.items() if key != field}
            if value is not MISSING:
                body[field] = value
            if field == "password" and path.endswith("create"):
                body["passwordProtected"] = True
                good = good and kind in PASSWORDS
            answer = api.send(method, address, body)
            what = f"{method} {path} {field} {kind}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, what
            if answer.status_code >= 400:
                fault = is_error(answer, answer.status_code)
                assert answer.status_code in (400, 401, 429), what
                assert len(answer.content) < 3000, what
                if answer.status_code == 400 and not good:
                    assert field in fault["details"], what
            if not good:
                assert answer.status_code in (400, 429), what
    assert api.get("/api/projects/").json()["count"] == before
    assert api.project(base["id"])["name"] == "base-of-all"
    api.put(f"/api/projects/{base['id']}/group", {"group": "school"})


def _takes(field: str, value: Any) -> bool:
    return field in ("passwordProtected", "createGitRepo", "removePassword", "useProxy") and value is True


def test_labels_that_no_machine_has(api: Api, base: dict[str, Any]) -> None:
    asked = (
        ("/api/projects/create", {"projectName": "with-labels", "projectType": "empty"}),
        (f"/api/projects/{base['id']}/clone", {"count": 1}),
    )
    for path, body in asked:
        for labels in (["gpu=true"], ["x" * 5000], ["<b>"], "gpu=true", ["a=b"] * 21):
            refusal = is_error(api.post(path, {**body, "nodes": labels}), 400, "VALIDATION_ERROR")
            assert "nodes" in (refusal["details"].get("field"), *refusal["details"]), refusal
    assert api.get("/api/projects/?node=nowhere").json() == {"success": True, "projects": [], "count": 0}


def test_notes_come_back_as_they_were_sent(api: Api, base: dict[str, Any]) -> None:
    path = f"/api/projects/{base['id']}/notes"
    for kind in NOTES - {"long"}:
        assert api.put(path, {"notes": TEXTS[kind]}).status_code == 200, kind
        assert api.get(path).json()["notes"] == TEXTS[kind]
        assert api.project(base["id"])["notes"] == TEXTS[kind]
    for notes, right in (("x" * 10_240, True), ("x" * 10_241, False), ("é" * 5120, True), ("é" * 5121, False)):
        assert api.put(path, {"notes": notes}).status_code == (200 if right else 400)
    assert api.put(path, {"notes": ""}).status_code == 200


def test_edges_of_lengths(api: Api, base: dict[str, Any]) -> None:
    def code_for(**body: Any) -> str:
        # The taken name makes the right ones end in PROJECT_EXISTS instead of a workspace.
        given = {"projectName": base["name"], "projectType": "empty", **body}
        return str(api.post("/api/projects/create", given).json()["code"])

    assert code_for(projectName="ab") == code_for(projectName="x" * 51) == "INVALID_PROJECT_NAME"
    protected = {"passwordProtected": True}
    for length, code in (
        (7, "INVALID_PASSWORD"),
        (8, "PROJECT_EXISTS"),
        (50, "PROJECT_EXISTS"),
        (51, "INVALID_PASSWORD"),
    ):
        assert code_for(**protected, password="p" * length) == code, length
    for length, code in (
        (0, "VALIDATION_ERROR"),
        (1, "PROJECT_EXISTS"),
        (50, "PROJECT_EXISTS"),
        (51, "VALIDATION_ERROR"),
    ):
        assert code_for(group="g" * length) == code, length
    for cores in ("1", 2, 4.0, "8"):
        assert code_for(cpuCores=cores) == "PROJECT_EXISTS"
    for cores in (3, "2.0", 0, -1, 2.5, True, "16"):
        assert code_for(cpuCores=cores) == "VALIDATION_ERROR", cores
    # JSON as Python's own parser takes it knows more numbers than the standard.
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400):
        raw = b'{"projectName": "base-of-all", "projectType": "empty", "cpuCores": ' + number + b"}"
        is_error(api.post("/api/projects/create", raw), 400, "VALIDATION_ERROR")
    path = f"/api/projects/{base['id']}/name"
    for length, right in ((0, False), (101, False)):
        assert api.put(path, {"name": "n" * length}).status_code == (200 if right else 400)


# Nothing, for an endpoint whose body is optional; unknown keys are ignored.
EMPTY = [b"", b"null", b'{"projectName": "a", "projectName": "b"}']
BODY_WANTED = [
    ("POST", "/api/projects/create"),
    ("POST", "/api/projects/{id}/clone"),
    ("PUT", "/api/projects/{id}/notes"),
    ("PUT", "/api/projects/{id}/password"),
]


@pytest.mark.parametrize("body", EMPTY)
def test_bodies_that_may_be_left_out(api: Api, base: dict[str, Any], body: bytes) -> None:
    assert api.post(f"/api/projects/{base['id']}/start", body).status_code == 200
    for method, path in BODY_WANTED:
        fault = is_error(api.send(method, path.format(id=base["id"]), body), 400)
        assert fault["details"], fault


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b"[]",
        b'"text"',
        b"17",
        b"{'a': 1}",
        b'{"projectName": "a"',
        b"\xff\xfe{}",
        b'{"projectName": "\xff\xfe\xfd"}',
        b"\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"projectName": ' + b"9" * 10_000 + b"}",
        b"projectName=abc&projectType=empty",
        b"<x/>",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_bodies_that_are_no_json_object(api: Api, base: dict[str, Any], body: bytes) -> None:
    for method, path in [*BODY_WANTED, ("POST", "/api/projects/{id}/start")]:
        fault = is_error(api.send(method, path.format(id=base["id"]), body), 400)
        assert fault["details"], fault


def test_content_types(api: Api, base: dict[str, Any]) -> None:
    body = json.dumps({"notes": ""}).encode()
    path = f"/api/projects/{base['id']}/notes"
    for kind in ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON"):
        assert api.put(path, body, headers={"Content-Type": kind}).status_code == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"):
        is_error(api.put(path, body, headers={"Content-Type": kind}), 400, "VALIDATION_ERROR", "Content-Type")


def test_large_bodies(api: Api, base: dict[str, Any]) -> None:
    path = f"/api/projects/{base['id']}/notes"
    frame = len('{"notes": ""}')
    just_below = json.dumps({"notes": "x" * (MIB - 1 - frame)}).encode()
    is_error(api.put(path, just_below), 400, "VALIDATION_ERROR", "notes")
    for size in (MIB, 3 * MIB):
        body = json.dumps({"notes": "x" * (size - frame)}).encode()
        is_error(api.put(path, body), 413, "PAYLOAD_TOO_LARGE")

        def pieces(body: bytes = body) -> Iterator[bytes]:
            for start in range(0, len(body), 50_000):
                yield body[start : start + 50_000]

        chunked = api.client.put(path, content=pieces(), headers={"Content-Type": "application/json"})
        is_error(chunked, 413, "PAYLOAD_TOO_LARGE")
    # Said, but never sent.
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(10**12))
    connection.putheader("Content-Type", "application/json")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


IDS = [
    "x",
    "ABC123DEF456",
    "abc123def45",
    "abc123def4567",
    "zzzzzzzzzzzz",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e",
    "..%5c..%5cetc",
    "abc123%0adef4",
    "abc123def456%0a",
    "abc123def45%00",
    "%00",
    "%27%20or%201=1--",
    "a'b\"c%60d%3be",
    "%22%7b%7b7*7%7d%7d",
    "%f0%9f%99%82",
    "%ff%fe%fd",
    "%ed%a0%80",
    "a" * 5000,
    "%20",
    "-1",
    "null",
    "$(id)",
    "create%00",
]


def test_ids_that_are_none(api: Api) -> None:
    for id in IDS:
        for method, path, body in (
            ("GET", f"/api/projects/{id}", None),
            ("DELETE", f"/api/projects/{id}", None),
            ("POST", f"/api/projects/{id}/start", None),
            ("POST", f"/api/projects/{id}/stop", {"password": "x"}),
            ("PUT", f"/api/projects/{id}/notes", {"notes": ""}),
            ("POST", f"/api/projects/{id}/clone", {"count": 1}),
            ("GET", f"/api/projects/{id}/disk-usage", None),
            ("GET", f"/api/jobs/{id}", None),
            ("POST", f"/api/jobs/{id}/cancel", None),
            ("GET", f"/api/jobs/{id}/events", None),
        ):
            fault = is_error(api.send(method, path, body), 404)
            assert fault["code"] in ("PROJECT_NOT_FOUND", "NOT_FOUND"), fault


def test_bad_queries(api: Api) -> None:
    for path in ("/api/jobs", "/api/audit"):
        for limit in ("0", "-1", "1001", "x", "1.5", "", "9" * 400, "%00", "٣"):
            is_error(api.get(f"{path}?limit={limit}"), 400, "VALIDATION_ERROR", "limit")
        assert api.get(f"{path}?limit=1&unknown=%00%ff").status_code == 200


def test_bad_event_ids_begin_at_the_beginning(api: Api) -> None:
    job = next(job["id"] for job in api.jobs() if job["state"] == "successful")
    whole = api.events(job)
    assert whole
    for last in ("x", "-1", "1.5", "\xb2", "9" * 30, "9" * 5000, "", "0x10"):
        answer = api.get(f"/api/jobs/{job}/events", headers={"Last-Event-ID": last.encode("latin-1")})
        assert answer.status_code == 200, last


def test_twenty_creates_of_one_name_at_once(api: Api) -> None:
    """Exactly one is created; the others get an error that the name is in use."""
    body = {"projectName": "wanted-by-all", "projectType": "empty"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.post("/api/projects/create", body), range(20)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 1
    for answer in answers:
        if answer not in made:
            is_error(answer, 400, "PROJECT_EXISTS", "projectName")
    rows = [row for row in api.instance.rows() if row["name"] == "wanted-by-all"]
    assert len(rows) == 1
    assert api.delete(f"/api/projects/{rows[0]['id']}").status_code == 200


def test_what_is_no_http(api: Api) -> None:
    """The server itself refuses these; it must go on serving."""
    for request in (
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"PUT /api/limits HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\n",
        b"PUT /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
            connection.sendall(request)
            connection.settimeout(10)
            try:
                first = connection.recv(4096)
            except (ConnectionResetError, TimeoutError):
                first = b""
            assert not first.startswith(b"HTTP/1.1 5"), request[:60]
    assert api.get("/api/health").status_code == 200
