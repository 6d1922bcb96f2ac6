"""The workshop day over HTTP: many participants at once, one of them twice; the admin; seats with own passwords.

Where only claims matter, seats are rows without containers: who has which seat is the database's business alone.
"""

from __future__ import annotations

import asyncio
import csv
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from atelier.ansible_module import parse_site
from atelier.common.models import Status, Workspace
from atelier.common.validation import check_limits
from atelier.database.workspace_store import WorkspaceStore, new_id, now

from tests.api.running import PATIENCE, TOKEN, Api, is_error
from tests.module.installation import is_healthy, login, opens, session_cookie
from tests.planted_secrets import holders
from tests.waiting import eventually

ADMIN, CODE = "canary-admin-Hy5", "canary-code-Bn8"
REMOTE = {"X-Forwarded-For": "203.0.113.9"}
ALREADY = "Diese E-Mail-Adresse ist bereits registriert."
FULL = "Leider sind keine Workspaces mehr verfügbar. Bitte wenden Sie sich an den Workshop-Leiter."
CLAIMS = "/api/workshop/claims"


def add_seats(api: Api, count: int) -> list[str]:
    """Ids of that many running rows, "Workshop 1" and so on, cloned from a base; without containers."""
    site = parse_site(api.instance.site())
    with WorkspaceStore(site.state_dir, site.networks, site.quotas) as store:
        limits, mode = check_limits("2g", "2", site.quotas), next(iter(site.networks))
        order = Workspace(new_id(), "Workshop", "empty", group="workshop", proxy_mode=mode, limits=limits)
        (base,) = store.reserve([order])
        seats = store.reserve_clones(base, None, [None] * count, "default")
        for seat in (base, *seats):
            store.update(seat.id, status=Status.RUNNING)
    return [seat.id for seat in seats]


def claim(api: Api, email: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return api.post("/api/workshop/claim", {"name": "Max Mustermann", "email": email, **more}, headers=headers)


def all_at_once(api: Api, emails: Sequence[str]) -> list[httpx.Response | None]:
    """Everybody's claim, sent at once; None where the API was gone before it answered."""

    async def ask(client: httpx.AsyncClient, email: str) -> httpx.Response | None:
        try:
            answer = await client.post("/api/workshop/claim", json={"name": "Max", "email": email})
        except httpx.TransportError:
            return None
        api.hold(answer)
        return answer

    async def herd() -> list[httpx.Response | None]:
        limits = httpx.Limits(max_connections=len(emails))
        async with httpx.AsyncClient(base_url=str(api.client.base_url), timeout=PATIENCE, limits=limits) as client:
            return await asyncio.gather(*(ask(client, email) for email in emails))

    return asyncio.run(herd())


def test_a_herd(own: Callable[..., Api]) -> None:
    """200 for 50 seats, and each of them clicks twice."""
    api = own(workshop={"admin_password": ADMIN}).start()
    assert api.get("/api/workshop/status").json() == {"available": 0, "total": 0, "claimed": 0}
    add_seats(api, 50)
    emails = [f"p{number}@example.com" for number in range(200)]
    answers = all_at_once(api, [*emails, *(email.upper() for email in emails)])
    seated = {}
    for email, answer in zip(emails, answers[:200], strict=True):
        assert answer is not None
        again = answers[emails.index(email) + 200]
        assert again is not None
        if answer.status_code == 503:
            is_error(answer, 503, "WORKSHOP_FULL")
            assert answer.json()["error"] == FULL
            assert answer.json()["message"] == "No seat is left. Ask the workshop's admin."
            assert again.status_code == 503
            continue
        first, second = sorted((answer, again), key=lambda answer: answer.status_code)
        assert first.status_code == 200, first.text
        assert first.json().keys() == {"workspaceUrl", "projectName"}
        is_error(second, 409, "ALREADY_CLAIMED")
        assert second.json()["error"] == ALREADY
        seated[email] = first.json()
        assert {key: second.json()[key] for key in first.json()} == first.json()
    assert {seat["projectName"] for seat in seated.values()} == {f"Workshop {number}" for number in range(1, 51)}
    assert len(seated) == len({seat["workspaceUrl"] for seat in seated.values()}) == 50
    assert api.get("/api/workshop/status").json() == {"available": 0, "total": 50, "claimed": 50}
    listed = api.get(CLAIMS, headers={"X-Admin-Password": ADMIN}).json()["claims"]
    assert {entry["email"].lower(): entry["workspaceUrl"] for entry in listed} == {
        email: seat["workspaceUrl"] for email, seat in seated.items()
    }
    assert Counter(entry["outcome"] for entry in api.audit("claim")) == {
        "successful": 50,
        "refused: ALREADY_CLAIMED": 50,
        "refused: WORKSHOP_FULL": 300,
    }


def test_what_was_answered_survives_kill_9(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}).start()
    add_seats(api, 50)
    emails = [f"p{number}@example.com" for number in range(200)]

    async def killed_in_the_middle() -> list[httpx.Response | None]:
        herd = asyncio.create_task(asyncio.to_thread(all_at_once, api, emails))
        while len(api.instance.query("SELECT 1 FROM claims")) == 0:
            await asyncio.sleep(0)
        api.kill()
        return await herd

    answers = asyncio.run(killed_in_the_middle())
    promised = {
        email: answer.json()["workspaceUrl"]
        for email, answer in zip(emails, answers, strict=True)
        if answer is not None and answer.status_code == 200
    }
    api.start()
    listed = api.get(CLAIMS, params={"password": ADMIN}).json()["claims"]
    assert len(listed) == len({entry["projectId"] for entry in listed}) == len({entry["email"] for entry in listed})
    assert promised.items() <= {entry["email"]: entry["workspaceUrl"] for entry in listed}.items()
    # Participants whose connection was cut have the seat, too, and get the answer.
    again = claim(api, listed[-1]["email"])
    is_error(again, 409, "ALREADY_CLAIMED")
    assert again.json()["workspaceUrl"] == listed[-1]["workspaceUrl"]


def test_the_admin_sees_and_releases(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}).start()
    seats = add_seats(api, 2)
    assert claim(api, "max@example.com").status_code == 200
    release = f"{CLAIMS}/{seats[0]}/release"
    # The three ways to say the password, from here and from elsewhere; the token says nothing of it.
    ways: list[dict[str, Any]] = [
        {"params": {"password": ADMIN}},
        {"headers": {"X-Admin-Password": ADMIN}},
        {"headers": {"Authorization": f"Bearer {ADMIN}"}},
    ]
    for way in ways:
        for more in ({}, REMOTE):
            answer = api.get(CLAIMS, **{**way, "headers": {**way.get("headers", {}), **more}})
            assert answer.status_code == 200, (way, more)
    bearer = {**REMOTE, "Authorization": f"Bearer {TOKEN}"}
    for method, path in (("GET", CLAIMS), ("GET", f"{CLAIMS}.csv"), ("POST", release)):
        is_error(api.send(method, path), 401, "UNAUTHORIZED")
        is_error(api.send(method, path, headers=bearer), 401, "UNAUTHORIZED")
        is_error(api.send(method, path, headers=REMOTE), 401, "UNAUTHORIZED")
    assert api.get(CLAIMS, headers={**bearer, "X-Admin-Password": ADMIN}).status_code == 200
    is_error(api.get("/api/projects/", headers={**REMOTE, "X-Admin-Password": ADMIN}), 401, "UNAUTHORIZED")

    answer = api.post(release, headers={"X-Admin-Password": ADMIN})
    assert answer.status_code == 200, answer.text
    released = answer.json()["released"]
    assert (released["name"], released["email"], released["projectName"]) == (
        "Max Mustermann",
        "max@example.com",
        "Workshop 1",
    )
    is_error(api.post(release, headers={"X-Admin-Password": ADMIN}), 404, "NOT_FOUND")
    assert claim(api, "moritz@example.com").json()["projectName"] == "Workshop 1"
    shown = api.get(CLAIMS, headers={"X-Admin-Password": ADMIN}).json()
    assert [entry["email"] for entry in shown["claims"]] == ["moritz@example.com"]
    (past,) = shown["history"]
    assert past["email"] == "max@example.com"
    assert past["releasedAt"] > past["claimedAt"]
    answer = api.get(f"{CLAIMS}.csv", headers={"X-Admin-Password": ADMIN})
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row[1] for row in csv.reader(answer.content.decode("utf-8-sig").splitlines())] == [
        *("email", "moritz@example.com", "max@example.com")
    ]

    # Guessing ends after ten attempts, for every caller.
    for _ in range(10):
        is_error(api.get(CLAIMS, params={"password": "x"}, headers=REMOTE), 401, "UNAUTHORIZED")
    answer = api.get(CLAIMS, params={"password": ADMIN}, headers=REMOTE)
    is_error(answer, 429, "TOO_MANY_ATTEMPTS", "retry_after")
    assert api.get(CLAIMS, params={"password": ADMIN}).status_code == 200
    assert [entry["outcome"] for entry in api.audit("release")] == ["refused: NOT_FOUND", "successful"]
    assert written(api, ADMIN) == []


def written(api: Api, word: str) -> list[Path]:
    """The files with the word that the API wrote."""
    return [*holders(api.instance.state, [word]), *([api.instance.log] if word in api.read_log() else [])]


def test_without_an_admin_password_nobody_is_admin(api: Api) -> None:
    for headers in ({}, {"X-Admin-Password": ""}, {"X-Admin-Password": "x"}):
        is_error(api.get(f"{CLAIMS}?password=", headers=headers), 403, "FORBIDDEN")
    is_error(api.post(f"{CLAIMS}/{'0' * 12}/release?password=x"), 403, "FORBIDDEN")


def test_a_bad_claim_is_400_whether_or_not_a_seat_is_left(own: Callable[..., Api]) -> None:
    api = own().start()
    check_bad_claims(api)  # the workshop has no seat at all
    add_seats(api, 1)
    check_bad_claims(api)
    assert claim(api, "max@example.com").status_code == 200
    check_bad_claims(api)
    is_error(claim(api, "moritz@example.com"), 503, "WORKSHOP_FULL")


def check_bad_claims(api: Api) -> None:
    for body, field in (
        ({"name": "Max"}, "email"),
        ({"email": "max@example.com"}, "name"),
        ({"name": "Max", "email": "max"}, "email"),
        ({"name": " ", "email": "max@example.com"}, "name"),
        ({"name": 7, "email": "max@example.com"}, "name"),
        ({"name": "M\u202ex", "email": "max@example.com"}, "name"),
        ({"name": "Max", "email": ""}, "email"),
        ({"name": "Max", "email": None}, "email"),
        ({"name": "Max", "email": "max@example.com", "accessCode": 7}, "accessCode"),
        ({}, "name"),
        ([], "body"),
        (b"{", "body"),
    ):
        is_error(api.post("/api/workshop/claim", body), 400, "VALIDATION_ERROR", field)


def test_the_access_code_and_how_often_one_may_try(own: Callable[..., Api]) -> None:
    api = own(workshop={"access_code": CODE, "claims_per_minute": 5}).start()
    add_seats(api, 3)
    is_error(claim(api, "max@example.com"), 403, "WRONG_ACCESS_CODE", "accessCode")
    is_error(claim(api, "max@example.com", accessCode="wrong"), 403, "WRONG_ACCESS_CODE")
    assert claim(api, "max@example.com", accessCode=CODE).status_code == 200
    # Who knows an address only does not learn whether it has a seat.
    for code in ({}, {"accessCode": "wrong"}):
        assert claim(api, "max@example.com", **code).json() == claim(api, "nobody@example.com", **code).json()
    assert claim(api, "MAX@example.com", accessCode=CODE).json()["projectName"] == "Workshop 1"

    for number in range(5):
        assert claim(api, f"{number}@example.com", accessCode=CODE, headers=REMOTE).status_code in (200, 503)
    answer = claim(api, "max@example.com", accessCode=CODE, headers=REMOTE)
    is_error(answer, 429, "TOO_MANY_ATTEMPTS")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert claim(api, "max@example.com", accessCode=CODE).status_code == 409  # loopback is not counted
    elsewhere = {"X-Forwarded-For": "203.0.113.10"}
    assert claim(api, "max@example.com", accessCode=CODE, headers=elsewhere).status_code == 409
    assert written(api, CODE) == []


def test_one_browser_claims_only_so_many_seats(own: Callable[..., Api]) -> None:
    api = own(workshop={"seats_per_browser": 1}).start()
    add_seats(api, 3)
    # The client keeps cookies, as a browser does.
    assert claim(api, "max@example.com", headers=REMOTE).status_code == 200
    is_error(claim(api, "moritz@example.com", headers=REMOTE), 409, "TOO_MANY_SEATS")
    assert claim(api, "max@example.com", headers=REMOTE).json()["projectName"] == "Workshop 1"
    # The operator is not held back, and neither is another browser in the same classroom.
    assert claim(api, "lena@example.com").status_code == 200
    api.client.cookies.clear()
    assert claim(api, "moritz@example.com", headers=REMOTE).status_code == 200


def test_a_claim_sets_a_password_and_a_release_another(own: Callable[..., Api]) -> None:
    """Also when the API dies between the claim and the password."""
    api = own(workshop={"admin_password": ADMIN, "seat_passwords": "generate"}).start()
    seat = api.create("workshop-seat", group="workshop")
    address = api.instance.row("workshop-seat")["address"]

    async def killed_in_the_middle() -> None:
        asking = asyncio.create_task(asyncio.to_thread(all_at_once, api, ["max@example.com"]))
        while not api.instance.query("SELECT 1 FROM claims"):
            await asyncio.sleep(0)
        api.kill()
        await asking

    asyncio.run(killed_in_the_middle())
    api.start()
    told = eventually(lambda: claim(api, "max@example.com"), "an answer")
    assert told.status_code == 200, told.text
    password = told.json()["password"]
    assert login(address, password)
    again = claim(api, "max@example.com")
    is_error(again, 409, "ALREADY_CLAIMED")
    assert "password" not in again.json()
    before = api.instance.container(seat)
    before.exec_run(["/bin/touch", "/workspace/left-behind"])
    answer = api.post(f"{CLAIMS}/{seat['id']}/release?password={ADMIN}")
    assert answer.status_code == 200, answer.text
    told = {key: answer.json()[key] for key in ("sessions", "password", "files", "keptContainer")}
    # If passwords are generated, the files are reset, too, and kept for helpers.
    before.reload()
    assert told == {"sessions": "ended", "password": "changed", "files": "reset", "keptContainer": before.name}
    assert before.status == "exited"
    assert api.instance.container(seat).exec_run(["/usr/bin/test", "-e", "/workspace/left-behind"])[0] == 1
    assert not login(address, password)
    other = claim(api, "moritz@example.com").json()["password"]
    assert other != password
    assert login(address, other)
    assert written(api, password) == []


def test_a_release_ends_sessions_also_where_password_and_files_stay(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}).start()
    password = "known-to-somebody-1!"
    seat = api.create("workshop-seat", group="workshop", passwordProtected=True, password=password)
    address = api.instance.row("workshop-seat")["address"]
    assert claim(api, "max@example.com").status_code == 200
    container = api.instance.container(seat)
    container.exec_run(["/bin/touch", "/workspace/left-behind"])
    container.exec_run(["/usr/bin/setsid", "/usr/bin/sleep", "1000"], detach=True)
    cookie = session_cookie(address, password)
    assert opens(address, cookie)
    answer = api.post(f"{CLAIMS}/{seat['id']}/release?password={ADMIN}")
    assert answer.status_code == 200, answer.text
    told = {key: answer.json()[key] for key in ("sessions", "password", "files", "keptContainer")}
    assert told == {"sessions": "ended", "password": "kept", "files": "kept", "keptContainer": None}
    assert not opens(address, cookie)
    assert "sleep" not in str(container.top(ps_args="-o pid,args"))
    assert container.exec_run(["/usr/bin/test", "-e", "/workspace/left-behind"])[0] == 0
    # The password is the card's, which the next participant gets.
    assert opens(address, session_cookie(address, password))


def test_a_seat_whose_release_fails_is_nobodys(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}).start()
    seat = api.create("workshop-seat", group="workshop")
    assert claim(api, "max@example.com").status_code == 200
    api.instance.container(seat).exec_run(
        ["/bin/mv", "/usr/local/bin/workspace-ide", "/usr/local/bin/gone"], user="root"
    )
    is_error(api.post(f"{CLAIMS}/{seat['id']}/release?password={ADMIN}"), 500, "CONTAINER_CREATE_FAILED")
    assert api.project(seat["id"])["status"] == "error"
    is_error(claim(api, "moritz@example.com"), 503, "WORKSHOP_FULL")


def test_many_passwords_at_once_are_few_runs_and_a_broken_seat_fails_alone(own: Callable[..., Api]) -> None:
    """Also through the playbook that sets them, under the API: one job for those who came meanwhile."""
    api = own(workshop={"admin_password": ADMIN, "seat_passwords": "generate"}).start()
    source = api.create("workshop-base", group="workshop")
    seats, job = api.clone(source["id"], 6)
    assert api.ended(job)["state"] == "successful"
    # An IDE that does not come back.
    broken = api.instance.container({"id": seats[3]})
    broken.exec_run(["/bin/mv", "/usr/local/bin/workspace-ide", "/usr/local/bin/gone"], user="root")
    answers = all_at_once(api, [f"p{number}@example.com" for number in range(6)])
    told = [answer for answer in answers if answer is not None and answer.status_code == 200]
    (failed,) = [answer for answer in answers if answer is not None and answer.status_code != 200]
    assert len(told) == 5
    for answer in told:
        row = api.instance.row(answer.json()["projectName"])
        assert login(row["address"], answer.json()["password"])
    is_error(failed, 500, "CONTAINER_CREATE_FAILED")
    # A claim is answered when its seat is ready, which may be before the job's end.
    jobs = [api.ended(job["id"]) for job in api.jobs() if job["operation"] == "password"]
    assert 1 <= len(jobs) <= 3
    assert {seat["projectId"] for job in jobs for seat in job["seats"]} == set(seats)
    assert [seat["projectId"] for job in jobs for seat in job["seats"] if seat["error"]] == [seats[3]]


@pytest.mark.parametrize("setting", [{"seat_passwords": "often"}, {"release": "sometimes"}, {"group": "no/group"}])
def test_settings_that_make_no_sense_keep_the_api_from_starting(
    own: Callable[..., Api], setting: dict[str, str]
) -> None:
    api = own(workshop=setting)
    api.start(wait=False)
    assert api.wait() != 0
    assert next(iter(setting.values())) in api.read_log()


def test_reset_under_use(own: Callable[..., Api]) -> None:
    """A claimed seat is reset while in use: another container, everything else unchanged. Also if the API dies in the
    middle."""
    api = own(workshop={"admin_password": ADMIN}).start()
    base = api.create("Workshop", group="workshop")
    (seat,), job = api.clone(base["id"], 1, password=CODE)
    assert api.ended(job)["state"] == "successful"
    claimed = claim(api, "max@example.com").json()
    instance, project = api.instance, api.project(seat)
    address = instance.row("Workshop 1")["address"]

    def work(text: str) -> None:
        instance.run_inside(project, f"echo {text} > work.txt; nohup sleep 1000 >/dev/null 2>&1 &")

    work("first")
    taken = api.post(f"/api/projects/{seat}/checkpoint")
    assert taken.status_code == 200, taken.text
    assert len(taken.json()["checkpoints"]) == 1
    work("second")
    answer = api.post(f"/api/projects/{seat}/reset")
    assert answer.status_code == 200, answer.text
    assert instance.read(project, "/workspace/work.txt") == b"first\n"
    assert login(address, CODE)
    same = ("id", "name", "workspaceUrl", "passwordProtected", "status", "clonedFrom", "createdAt")
    after = api.project(seat)
    assert {key: after[key] for key in same} == {key: project[key] for key in same}
    assert claim(api, "max@example.com").json()["workspaceUrl"] == claimed["workspaceUrl"]
    usage = api.get(f"/api/projects/{seat}/disk-usage").json()["diskUsage"]
    assert usage["checkpoints"] == 1
    assert usage["checkpointBytes"] > 0
    assert usage["keptBytes"] > 0

    work("third")
    before = instance.container(project).id

    async def killed_in_the_middle() -> None:
        asking = asyncio.create_task(asyncio.to_thread(post_until_gone))
        while instance.container(project).id == before and not await asyncio.to_thread(was_moved):
            await asyncio.sleep(0.02)
        api.kill()
        await asking

    def post_until_gone() -> None:
        with pytest.raises(httpx.TransportError):
            api.post(f"/api/projects/{seat}/reset")

    def was_moved() -> bool:
        return any("-new" in container.name for container in instance.containers())

    asyncio.run(killed_in_the_middle())
    api.start()
    api.wait_for_quiet()
    assert api.status(seat) == "running"
    assert instance.read(project, "/workspace/work.txt") == b"first\n"
    assert login(address, CODE)
    # Once only, and nothing of what was there is lost.
    assert len([container for container in instance.containers() if "-kept-" in container.name]) == 2
    assert api.delete(f"/api/projects/{seat}", {"password": CODE}).status_code == 200
    assert [container.name for container in instance.containers()] == [instance.container_name(base)]
    assert instance.snapshot_tags() == []
    assert [entry["releasedAt"] is not None for entry in claims(api)["history"]] == [True]


def claims(api: Api) -> dict[str, Any]:
    return dict(api.get(CLAIMS, headers={"X-Admin-Password": ADMIN}).json())


def test_the_idle_are_stopped_and_all_seats_at_the_end(own: Callable[..., Api]) -> None:
    api = own(workspace_timeout=0).start()
    begun = [api.begin(name, group="workshop") for name in ("connected", "extended", "idle")]
    assert {api.ended(job)["state"] for _, job in begun} == {"successful"}
    connected, extended, idle = (seat for seat, _ in begun)
    answer = api.post(f"/api/projects/{extended}/extend", {"minutes": 90})
    assert answer.status_code == 200, answer.text
    assert answer.json()["extendedUntil"] > now()
    is_error(api.post(f"/api/projects/{extended}/extend", {"minutes": 0}), 400, None, "minutes")
    api.close()

    with socket.create_connection((api.instance.row("connected")["address"], 8082)):
        api = own(workspace_timeout=0.05).start()
        eventually(lambda: api.status(idle) == "stopped", "the idle one is stopped")
        assert [api.status(seat) for seat in (connected, extended)] == ["running", "running"]
        # The line comes when its job has ended.
        (entry,) = eventually(lambda: api.audit("stop"), "a line in the audit log")
        assert (entry["who"], entry["workspace"]) == ("idle-stop", idle)
        api.close()

        api = own(workspace_timeout=120).start()
        assert api.get("/api/config").json()["config"]["limits"]["workspaceTimeout"] == 120
        assert api.project(idle)["stoppedFor"] == "idle"

        def visit() -> httpx.Response:
            return api.post(f"/api/visits/{idle}", headers={"X-Alias-Caller": "203.0.113.9"})

        # The page, again if the machine is busy, then the IDE.
        first = visit()
        assert first.status_code == 202
        assert int(first.headers["x-wake-seconds"]) > 0
        assert eventually(lambda: (met := visit().status_code) != 202 and met, "the seat is awake") == 204
        assert (api.status(idle), api.project(idle)["stoppedFor"]) == ("running", None)
        assert is_healthy(api.instance.row("idle")["address"])
        asked, done = sorted(
            eventually(lambda: len(api.audit("wake")) == 2 and api.audit("wake"), "both lines"), key=str
        )
        assert {(asked["who"], asked["outcome"]), (done["who"], done["outcome"])} == {
            ("203.0.113.9", "asked"),
            ("visit", "successful"),
        }
        assert 'atelier_wakes_total{outcome="started"} 1.0' in api.get("/metrics").text
        assert api.post(f"/api/visits/{idle}", headers=REMOTE).status_code == 401  # only the gateway asks
        # What a person stops is left.
        assert api.post(f"/api/projects/{idle}/stop").status_code == 200
        assert api.post(f"/api/visits/{idle}").status_code == 204
        assert (api.status(idle), api.project(idle)["stoppedFor"]) == ("stopped", "person")
        api.close()

        # A short timeout means frequent looks. The connected one is not idle.
        api = own(workspace_timeout=0.05, workshop={"end": now()}).start()
        is_error(claim(api, "max@example.com"), 403, "WORKSHOP_OVER")
        assert "endsAt" in api.get("/api/workshop/status").json()
        eventually(lambda: api.status(connected) == "stopped", "seats are stopped at the end")
        assert api.project(connected)["stoppedFor"] == "end"
    assert api.status(extended) == "running"


def test_who_comes_back_to_the_workshop_s_page_starts_their_seat(own: Callable[..., Api], light: str) -> None:
    api = own(image_prefix=light).start()
    seat = api.create("workshop-seat", group="workshop")["id"]
    # The client keeps the cookie, as a browser does.
    assert claim(api, "max@example.com", headers=REMOTE).status_code == 200

    def starts_by(come_back: Callable[[], httpx.Response], status: int) -> None:
        known = len(api.audit("wake"))
        api.instance.play("workspace_stop", workspace_name="workshop-seat", workspace_stop_reason="idle").succeeded()
        eventually(lambda: api.project(seat)["stoppedFor"] == "idle", "it sleeps")
        assert come_back().status_code == status
        eventually(lambda: api.status(seat) == "running", "it runs")
        lines = eventually(lambda: len(told := api.audit("wake")) == known + 2 and told, "who asked, and the outcome")
        assert {(line["who"], line["outcome"]) for line in lines} == {
            (REMOTE["X-Forwarded-For"], "asked"),
            ("visit", "successful"),
        }

    starts_by(lambda: claim(api, "max@example.com", headers=REMOTE), 409)
    starts_by(lambda: api.get("/workshop", headers=REMOTE), 200)
    # A stranger's visit to that page starts nothing.
    api.client.cookies.clear()
    api.instance.play("workspace_stop", workspace_name="workshop-seat", workspace_stop_reason="idle").succeeded()
    assert api.get("/workshop", headers=REMOTE).status_code == 200
    assert len(api.audit("wake")) == 4


def test_what_the_admin_can_do_for_a_seat(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN}, reset_keep_hours=0.001).start()
    admin = {**REMOTE, "X-Admin-Password": ADMIN}
    seat, other = api.create("workshop-seat", group="workshop"), api.create("another", group="other")
    path = f"/api/workshop/seats/{seat['id']}"
    for method, address in (("GET", "/api/workshop/seats"), ("POST", f"{path}/password"), ("POST", f"{path}/reset")):
        is_error(api.send(method, address, headers=REMOTE), 401, "UNAUTHORIZED")
        is_error(api.send(method, address), 401, "UNAUTHORIZED")
    is_error(api.post(f"/api/workshop/seats/{other['id']}/reset", headers=admin), 404, "PROJECT_NOT_FOUND")
    foreign = api.post("/api/workshop/rehearse", {"projectId": other["id"]}, headers=admin)
    is_error(foreign, 404, "PROJECT_NOT_FOUND", "projectId")
    password = api.post(f"{path}/password", headers=admin).json()["password"]
    assert login(api.instance.row("workshop-seat")["address"], password)
    assert api.post(f"{path}/extend", {"minutes": 5}, headers=admin).status_code == 200
    assert claim(api, "max@example.com").status_code == 200
    (shown,) = api.get("/api/workshop/seats", headers=admin).json()["seats"]
    assert (shown["projectId"], shown["email"], shown["status"]) == (seat["id"], "max@example.com", "running")
    assert shown["extendedUntil"] > now()
    assert shown["connections"] >= 0
    assert api.post(f"{path}/checkpoint", headers=admin).status_code == 200
    assert api.post(f"{path}/reset", headers=admin).status_code == 200
    assert login(api.instance.row("workshop-seat")["address"], password)
    # What the seat had is kept for as long as the site says, also if it is never reset again.
    eventually(lambda: len(api.instance.containers()) == 2, "the container that the reset replaced is removed")
