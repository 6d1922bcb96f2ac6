"""Access to the pages: permissions, signing in and out with a browser's cookies, and the feed of changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

from tests.api.git_service import Service
from tests.api.running import TOKEN, Api, is_error
from tests.module.installation import login
from tests.waiting import eventually

REMOTE = {"X-Forwarded-For": "203.0.113.9"}
COOKIE = "atelier-operator"
ADMIN = "canary-admin-Kq7"


def sign_in(api: Api, **body: str) -> httpx.Response:
    answer = api.post("/api/session", body, headers=REMOTE)
    api.client.cookies.clear()  # each request below says for itself which cookie it sends
    return answer


def with_cookie(id: str, **more: str) -> dict[str, str]:
    return {**REMOTE, "Cookie": f"{COOKIE}={id}", **more}


def test_an_operator_elsewhere_signs_in_and_out(api: Api) -> None:
    for path in ("/", "/jobs", "/whitelist", "/repositories", "/runbook", "/workspaces/abc123def456"):
        for language, label in (("de", "Token"), ("fr", "Jeton")):
            page = api.get(path, headers={**REMOTE, "Accept-Language": language})
            assert page.status_code == 401
            assert f'<html lang="{language}">' in page.text
            assert label in page.text
    is_error(api.get("/pages/workspaces", headers=REMOTE), 401, "UNAUTHORIZED")
    is_error(sign_in(api, token=f"{TOKEN}x"), 401, "UNAUTHORIZED", "token")
    is_error(sign_in(api), 400, "VALIDATION_ERROR", "token")
    answer = sign_in(api, token=TOKEN)
    assert answer.status_code == 200
    (cookie,) = answer.headers.get_list("set-cookie")
    value = re.match(rf"{COOKIE}=([\w-]{{40,}});", cookie)
    assert value, cookie
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    mine = with_cookie(value[1])
    assert api.get("/", headers=mine).status_code == 200
    assert api.get("/api/projects/", headers=mine).status_code == 200
    # A page of a seat may set cookies of this name for the whole domain: they neither help nor hinder.
    planted = {**REMOTE, "Cookie": f"{COOKIE}=planted; {COOKIE}={value[1]}; other=1"}
    assert api.get("/api/projects/", headers=planted).status_code == 200
    # The cookie of one kind is none of another.
    is_error(api.get("/api/projects/", headers={**REMOTE, "Cookie": f"atelier-workshop={value[1]}"}), 401)
    # It comes along also when a seat's page calls, which is of the same site; the origin tells them apart.
    foreign = with_cookie(value[1], Host="localhost", Origin="http://abc123def456.localhost")
    is_error(api.post("/api/workspace/cleanup", headers=foreign), 403, "FORBIDDEN")
    for site in ("same-site", "cross-site"):  # a browser that hides the origin still says how far away it is
        is_error(api.post("/api/workspace/cleanup", headers=with_cookie(value[1], **{"Sec-Fetch-Site": site})), 403)
    # Signing out ends every session of the cookie's name, also beside a planted one.
    twice = {**REMOTE, "Cookie": f"{COOKIE}={value[1]}; {COOKIE}=planted"}
    assert api.delete("/api/session", headers=twice).status_code == 200
    assert api.get("/", headers=mine).status_code == 401
    assert [entry["outcome"] for entry in api.audit("sign-out")][:1] == ["successful"]
    before = len(api.audit("sign-out"))
    assert api.delete("/api/session", headers=REMOTE).status_code == 200
    assert len(api.audit("sign-out")) == before  # it ended nothing
    audited = [(entry["who"], entry["outcome"]) for entry in api.audit("sign-in")][:3]
    assert ("203.0.113.9", "successful") in audited
    assert value[1] not in json.dumps(api.audit())
    kept = (api.instance.state / "api" / "sessions.json").read_text()
    assert value[1] not in kept
    assert TOKEN not in kept


def test_with_tls_the_cookie_is_this_hosts_alone_and_guessing_ends(own: Callable[..., Api]) -> None:
    api = own(protocol="https", port=443).start()
    answer = sign_in(api, token=TOKEN)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-atelier-operator=")
    assert "Secure" in cookie.split("; ")
    id = cookie.partition("=")[2].partition(";")[0]
    is_error(api.get("/api/projects/", headers=with_cookie(id)), 401)
    for _ in range(10):
        assert sign_in(api, token="wrong").status_code == 401
    answer = sign_in(api, token="wrong")
    is_error(answer, 429, "TOO_MANY_ATTEMPTS")
    assert int(answer.headers["retry-after"]) > 0
    # A neighbour behind the same address keeps nobody out who has the token.
    assert sign_in(api, token=TOKEN).status_code == 200
    # Who signed in before stays so, also over a restart.
    api.kill()
    api.start()
    headers = {**REMOTE, "Cookie": f"__Host-{COOKIE}={id}"}
    assert api.get("/", headers=headers).status_code == 200


def test_pages_allow_browsers_little(api: Api, base: dict[str, Any]) -> None:
    for path in ("/", f"/workspaces/{base['id']}", "/jobs"):
        page = api.get(path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert TOKEN not in page.text
        for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
            file = api.get(address, headers=REMOTE)
            assert file.status_code == 200
            assert "immutable" in file.headers["cache-control"]
    for language, text in (("de", "Diesen Workspace gibt es nicht"), ("fr", "Cet espace de travail n\u2019existe pas")):
        missing = api.get("/workspaces/000000000000", headers={"Accept-Language": language})
        assert missing.status_code == 404
        assert text in missing.text
    assert api.get("/static/../main.py").status_code == 404
    is_error(api.get("/no-such-page"), 404, "NOT_FOUND")
    is_error(api.get("/no-such-page", headers=REMOTE), 401, "UNAUTHORIZED")
    # People get a sentence; without access it does not reveal what exists.
    for path in ("/no-such-page", "/metrics"):
        page = api.get(path, headers={**REMOTE, "Accept": "text/html"})
        assert page.status_code == 404
        assert "There is nothing at this address." in page.text
        assert 'href="/workshop"' in page.text
    assert (
        "Unter dieser Adresse gibt es nichts."
        in api.get("/nothing", headers={"Accept": "text/html", "Accept-Language": "de"}).text
    )
    for headers in ({}, REMOTE):
        mistyped = api.get("/workshop/", headers={**headers, "Accept": "text/html"})
        assert (mistyped.status_code, mistyped.headers["location"]) == (308, "/workshop")
    assert api.get(f"/?group={'x' * 200}").headers["content-type"].startswith("text/html")


def test_the_feed_tells_of_changes_and_of_nothing_else(api: Api, base: dict[str, Any]) -> None:
    api.wait_for_quiet()
    with api.client.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()

        def next_topic() -> str:
            return next(line.removeprefix("event: ") for line in lines if line.startswith("event: "))

        assert {next_topic(), next_topic(), next_topic()} == {"workspaces", "jobs", "claims"}
        path = f"/api/projects/{base['id']}/notes"
        assert api.put(path, {"notes": "seen by everybody"}).status_code == 200
        assert next_topic() == "workspaces"
    assert api.put(path, {"notes": ""}).status_code == 200
    eventually(lambda: "seen by everybody" not in api.get("/").text, "the page is made anew")


def test_a_workspaces_page_has_its_addresses_and_there_is_no_git_without_a_server(
    api: Api, base: dict[str, Any]
) -> None:
    front = api.get("/").text
    assert 'value="git-clone"' in front
    assert "createGitRepo" not in front
    assert 'href="/repositories"' not in front
    assert api.get("/repositories").status_code == 503
    path, password = f"/api/projects/{base['id']}/aliases", "canary-page-Rt8"
    order = {"subdomain": "page-demo", "port": 3100, "basicAuth": {"user": "<i>guest", "password": password}}
    assert api.post(path, order).status_code == 201
    api.instance.container(base).exec_run(["python3", "-m", "http.server", "3100"], detach=True)
    page = api.get(f"/workspaces/{base['id']}", headers={"Accept-Language": "de"}).text
    assert 'href="http://page-demo.localhost/"' in page
    assert "Port 3100 · verlangt das Passwort von &lt;i&gt;guest" in page
    assert password not in page
    ports = f"/pages/workspaces/{base['id']}/ports"
    eventually(lambda: f"http://{base['id']}-3100.localhost/" in api.get(ports).text, "the open port is shown")
    assert api.delete(f"{path}/page-demo").status_code == 200
    assert "It has none yet." in api.get(f"/pages/workspaces/{base['id']}/aliases").text
    for path in ("aliases", "ports"):
        is_error(api.get(f"/pages/workspaces/{base['id']}/{path}", headers=REMOTE), 401, "UNAUTHORIZED")


def test_the_git_servers_repositories(service: tuple[Api, Service]) -> None:
    api, running = service
    front = api.get("/").text
    assert "createGitRepo" in front
    assert 'href="/repositories"' in front
    assert "There is no repository yet." in api.get("/repositories").text
    made = {"name": "course", "description": "For <b>all</b>", "private": True}
    assert api.post("/api/git/repositories", made).status_code == 201
    page = api.get("/repositories", headers={"Accept-Language": "de"}).text
    assert "For &lt;b&gt;all&lt;/b&gt;" in page
    assert "http://localhost/git/developer/course.git" in page
    assert 'href="http://localhost/git/developer/course"' not in page  # the embedded server has no pages
    assert "leer" in page
    running.stop()
    page = api.get("/repositories")
    assert page.status_code == 200
    assert "The git server does not answer." in page.text
    assert "course.git" not in api.get("/pages/repositories").text
    assert api.get("/repositories", headers=REMOTE).status_code == 401


def test_whoever_runs_the_workshop_signs_in_and_sees_the_seats_only(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}).start()
    page = api.get("/workshop", headers={**REMOTE, "Accept-Language": "de"})
    assert page.status_code == 200
    assert "Noch gibt es keine Plätze" in page.text
    assert api.get("/workshop/admin").status_code == 401  # also for this machine: the password is asked of everybody
    is_error(sign_in(api, workshopPassword="wrong"), 401, "UNAUTHORIZED")
    cookie = sign_in(api, workshopPassword=ADMIN).headers["set-cookie"]
    assert ADMIN not in cookie
    mine = {**REMOTE, "Cookie": cookie.partition(";")[0]}
    base = api.create("Workshop", group="workshop")
    ids, job = api.clone(base["id"], 2)
    api.ended(job)
    claimed = api.post("/api/workshop/claim", {"name": "Ana <b>", "email": "ana@example.com"}, headers=REMOTE)
    assert claimed.status_code == 200
    page = api.get("/workshop/admin", headers=mine)
    assert "Ana &lt;b&gt;" in page.text

    def seats() -> list[dict[str, Any]]:
        return list(api.get("/api/workshop/seats", headers=mine).json()["seats"])

    assert [seat["projectId"] for seat in seats()] == ids
    assert seats()[0]["email"] == "ana@example.com"
    eventually(lambda: seats()[0]["lastCommit"], "the template's own commit")  # it is asked for every 15 seconds
    assert "Workshop 2" in api.get("/pages/workshop/seats", headers=mine).text
    assert api.get("/api/workshop/claims.csv", headers=mine).status_code == 200
    # Nothing but the workshop is open to that cookie.
    for path in ("/api/projects/", "/api/jobs", "/api/audit", "/pages/workspaces", f"/api/projects/{base['id']}"):
        is_error(api.get(path, headers=mine), 401, "UNAUTHORIZED")
    assert api.get("/", headers=mine).status_code == 401
    is_error(api.post(f"/api/projects/{ids[0]}/start", headers=mine), 401, "UNAUTHORIZED")
    is_error(api.post(f"/api/workshop/seats/{base['id']}/start", headers=mine), 404, "PROJECT_NOT_FOUND")
    assert api.post(f"/api/workshop/seats/{ids[0]}/start", headers=mine).status_code == 200
    # Cards without new passwords change nothing; with them the answer alone tells.
    old = api.post("/api/workshop/cards", {}, headers=mine).json()["cards"]
    assert [card["password"] for card in old] == [None, None]
    is_error(api.post("/api/workshop/cards", {"projectIds": [base["id"]]}, headers=mine), 404, "PROJECT_NOT_FOUND")
    cards = api.post("/pages/workshop/cards", {"newPasswords": True, "projectIds": ids[1:]}, headers=mine)
    assert cards.status_code == 200
    (password,) = re.findall(r"<code>([^<]+)</code>", cards.text)
    assert login(api.instance.row("Workshop 2")["address"], password)
    assert not api.project(ids[0])["passwordProtected"]
    assert password not in json.dumps(api.audit()) + json.dumps(api.jobs()) + api.read_log()
    assert api.delete("/api/session", headers=mine).status_code == 200
    assert api.get("/workshop/admin", headers=mine).status_code == 401
