"""Aliases over HTTP, and the open ports of a real seat. That the gateway obeys is molecule's gateway's to show."""

from __future__ import annotations

import base64
from typing import Any

from tests.api.running import TOKEN, Api, eventually, is_error

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
    written = [file.read_bytes() for file in api.instance.state.rglob("*") if file.is_file()]
    assert not [content for content in written if PASSWORD.encode() in content]

    listen = "import socket, time; s = [socket.create_server((a, p)) for a, p in (('', 3000), ('127.0.0.1', 3001))]"
    api.instance.container(base).exec_run(["python3", "-c", f"{listen}; time.sleep(60)"], detach=True)
    ports = f"/api/projects/{base['id']}/ports"
    found = eventually(lambda: len(api.get(ports).json()["ports"]) > 1 and api.get(ports).json()["ports"], "open ports")
    reachable = {entry["port"]: entry["reachable"] for entry in found}
    assert (reachable[3000], reachable[3001], 8082 in reachable) == (True, False, False)
