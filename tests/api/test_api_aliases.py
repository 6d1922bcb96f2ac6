"""Aliases over HTTP, and the open ports of a real seat. That the gateway obeys is molecule's gateway's to show."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.api.running import TOKEN, Api, is_error
from tests.planted_secrets import holders
from tests.waiting import eventually

PASSWORD = "canary-alias-Wd3"


def test_aliases_and_ports(api: Api, base: dict[str, Any]) -> None:
    path = f"/api/projects/{base['id']}/aliases"
    table = api.instance.state / "gateway" / "aliases.map"
    assert api.get(path).json() == {"success": True, "aliases": []}
    guarded = {"subdomain": "demo-site", "port": 3000, "basicAuth": {"user": "guest", "password": PASSWORD}}
    made = api.post(path, guarded)
    assert made.status_code == 201, made.text
    alias = made.json()["alias"]
    assert (alias["url"], alias["port"], alias["basicAuth"]) == ("http://demo-site.localhost/", 3000, True)
    assert "hash" not in made.text
    assert table.read_text() == f"demo-site {base['id']}-3000-auth\n"
    assert api.project(base["id"])["aliases"] == [alias] == api.get(path).json()["aliases"]

    for body, status, code in (
        ({**guarded}, 409, "ALIAS_EXISTS"),
        ({"subdomain": "workshop", "port": 3000}, 422, "ALIAS_RESERVED"),
        ({"subdomain": "x", "port": 3000}, 400, "VALIDATION_ERROR"),
        ({"subdomain": "other", "port": 8082}, 400, "VALIDATION_ERROR"),
        ({"subdomain": "other", "port": 1, "basicAuth": {"user": "guest"}}, 400, "VALIDATION_ERROR"),
        ({"subdomain": "other", "port": 1, "basicAuth": {"user": "a:b", "password": PASSWORD}}, 400, None),
    ):
        is_error(api.post(path, body), status, code)

    # What the gateway asks, and only the gateway.
    question = "/api/aliases/demo-site/admission"
    right = "Basic " + base64.b64encode(f"guest:{PASSWORD}".encode()).decode()
    assert api.get(question, headers={"Authorization": right}).status_code == 204
    assert api.get(question, headers={"Authorization": "Basic x"}).status_code == 401
    assert api.get("/api/aliases/nothing/admission", headers={"Authorization": right}).status_code == 404
    elsewhere = {"X-Forwarded-For": "203.0.113.9", "Authorization": right}
    is_error(api.get(question, headers=elsewhere), 401, "UNAUTHORIZED")
    assert api.get(question, headers={**elsewhere, "Authorization": f"Bearer {TOKEN}"}).status_code == 401

    changed = api.put(f"{path}/demo-site", {"port": 4000})
    assert (changed.json()["alias"]["port"], changed.json()["alias"]["basicAuth"]) == (4000, True)
    assert api.put(f"{path}/demo-site", {"basicAuth": None}).json()["alias"]["basicAuth"] is False
    assert table.read_text() == f"demo-site {base['id']}-4000\n"
    is_error(api.put(f"{path}/other", {"port": 1}), 404, "NOT_FOUND")
    assert api.delete(f"{path}/demo-site").status_code == 200
    is_error(api.delete(f"{path}/demo-site"), 404, "NOT_FOUND")
    assert table.read_text() == ""
    assert holders(api.instance.state, [PASSWORD]) == []

    listen = "import socket, time; s = [socket.create_server((a, p)) for a, p in (('', 3000), ('127.0.0.1', 3001))]"
    api.instance.container(base).exec_run(["python3", "-c", f"{listen}; time.sleep(60)"], detach=True)
    ports = f"/api/projects/{base['id']}/ports"
    found = eventually(lambda: len((now := api.get(ports).json())["ports"]) > 1 and now, "open ports")
    reachable = {entry["port"]: entry["reachable"] for entry in found["listening"]}
    assert (reachable[3000], reachable[3001], 8082 in reachable) == (True, False, False)
    assert found["ports"] == sorted(reachable)


def test_sharing_a_port(api: Api) -> None:
    locked = api.create("Locked", passwordProtected=True, password=PASSWORD)
    plain = api.create("Plain")
    table = api.instance.state / "gateway" / "ports.map"

    def entries(id: str) -> dict[str, str]:
        return dict(line.split() for line in table.read_text().splitlines() if line.startswith(id))

    key = entries(locked["id"])[locked["id"]]
    assert entries(plain["id"]) == {plain["id"]: "open"} and len(key) == 44
    path = f"/api/projects/{locked['id']}/ports/3000/share"
    shared = api.post(path)
    assert (shared.status_code, shared.json()["shared"]) == (200, True)
    assert shared.json()["url"] == f"http://{locked['id']}-3000.localhost/"
    assert entries(locked["id"]) == {locked["id"]: key, f"{locked['id']}-3000": "shared"}
    assert api.get(f"/api/projects/{locked['id']}/ports").json()["shared"] == [3000]
    assert api.delete(path).json()["shared"] is False
    assert entries(locked["id"]) == {locked["id"]: key}

    # The owner shares with the workspace's password, and nobody else does.
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    assert api.post(path, {"password": PASSWORD}, headers=elsewhere).status_code == 200
    assert api.delete(path, {"password": PASSWORD}, headers=elsewhere).status_code == 200
    for body in ({}, {"password": "wrong"}, None):
        is_error(api.post(path, body, headers=elsewhere), 401, "INVALID_WORKSPACE_PASSWORD")
    of_plain = f"/api/projects/{plain['id']}/ports/3000/share"
    is_error(api.post(of_plain, {"password": PASSWORD}, headers=elsewhere), 401, "INVALID_WORKSPACE_PASSWORD")
    for port, status in ((0, 400), (65536, 400), (8082, 400), ("x", 400)):
        assert api.post(f"/api/projects/{locked['id']}/ports/{port}/share").status_code == status, port
    is_error(api.post("/api/projects/0123456789ab/ports/1/share"), 404, "PROJECT_NOT_FOUND")

    guard = {"subdomain": "guarding", "port": 3000, "basicAuth": {"user": "guest", "password": PASSWORD}}
    assert api.post(f"/api/projects/{locked['id']}/aliases", guard).status_code == 201
    assert entries(locked["id"])[f"{locked['id']}-3000"] == "guarded"
    is_error(api.post(path), 409, "PORT_GUARDED")

    # What the gateway asks and sends.
    right = base64.b64encode(f"x:{PASSWORD}".encode()).decode()
    question = f"/api/ports/{locked['id']}/admission"
    assert api.get(question, headers={"Authorization": f"Basic {right}"}).status_code == 204
    assert api.get(question, headers={"Authorization": "Basic eDp5"}).status_code == 401
    is_error(api.get(question, headers={**elsewhere, "Authorization": f"Basic {right}"}), 401, "UNAUTHORIZED")

    def sign_in(password: str, referer: str) -> httpx.Response:
        headers = {**elsewhere, "Content-Type": "application/x-www-form-urlencoded", "Referer": referer}
        return api.client.post(
            f"/api/ports/{locked['id']}-3000/sign-in", content=urlencode({"password": password}), headers=headers
        )

    for referer, target in (
        ("http://x/deep/er?y=1", "/deep/er?y=1"),
        ("http://x//evil.example/", "/"),
        ("http://x/\\evil.example", "/"),
        ("http://x/.atelier/sign-in?wrong=1&to=%2Fback%3Fz", "/back?z"),
        ("http://x/.atelier/sign-in?to=https%3A%2F%2Fevil.example", "/"),
        ("http://[", "/"),
        ("", "/"),
    ):
        answer = sign_in(PASSWORD, referer)
        assert (answer.status_code, answer.headers["location"]) == (303, target), referer
    assert answer.headers["set-cookie"].startswith("atelier-port=")
    wrong = sign_in("wrong", "http://x/deep")
    assert wrong.headers["location"] == "/.atelier/sign-in?wrong=1&to=%2Fdeep"
    assert "set-cookie" not in wrong.headers
    # Another password signs other passes.
    changed = {"currentPassword": PASSWORD, "newPassword": "another-canary-1"}
    assert api.put(f"/api/projects/{locked['id']}/password", changed).status_code == 200
    assert entries(locked["id"])[locked["id"]] != key
