"""Changes to containers without the API, and outages of Docker."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.api.conftest import PREFIX
from tests.api.running import Api, Instance, is_error
from tests.api.wire import Dockerd, Wire
from tests.module.installation import is_healthy
from tests.waiting import eventually

# A loaded machine gets some time on top of the second that is promised, but less than the API waits for Docker.
SOON = 25.0
SECOND_SUBNET, SECOND_BRIDGE = "172.22.0.0/16", "atl-apitest2"


def test_what_is_done_behind_its_back_shows(api: Api, base: dict[str, Any]) -> None:
    made = api.create("watched")
    container = api.instance.container(made)

    def shows(status: str) -> None:
        begin = time.monotonic()
        eventually(lambda: api.status(made["id"]) == status, f"{status} shows", SOON)
        listed = {project["id"]: project["status"] for project in api.get("/api/projects/").json()["projects"]}
        assert listed[made["id"]] == status
        assert time.monotonic() - begin < SOON
        eventually(lambda: api.instance.row("watched")["status"] == status, "the database knows it", SOON)

    container.stop(timeout=0)
    shows("stopped")
    container.start()
    shows("running")
    container.kill()
    shows("stopped")
    container.start()
    shows("running")
    stranger = api.instance.docker.containers.create(
        f"{PREFIX}/workspace:empty", labels=container.labels, entrypoint=["sleep", "1"]
    )
    container.remove(force=True)
    shows("error")
    stranger.remove()
    project = api.project(made["id"])
    assert (project["error"], project["container"]["status"]) == ("Its container was removed.", "removed")
    # It can be had back, empty.
    assert api.post(f"/api/projects/{made['id']}/start").status_code == 200
    shows("running")
    assert api.status(base["id"]) == "running"
    assert api.delete(f"/api/projects/{made['id']}").status_code == 200


def test_resources_are_sampled(api: Api, base: dict[str, Any]) -> None:
    def figures() -> dict[str, str] | None:
        resources: dict[str, str] = api.project(base["id"])["container"]["resources"]
        return resources if resources["memory"] != "0B" else None

    figures_seen = eventually(figures, "a sample")
    assert figures_seen["memory"].endswith("MB")


@pytest.fixture
def wired(own: Callable[..., Api], api: Api, light: str) -> Iterator[tuple[Api, Wire]]:
    # Not pytest's own folder: a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="atelier-wire-") as folder:
        wire = Wire(Path(folder), api.instance.engine_url)
        wire.mend()
        yield own(engine_url=wire.url, image_prefix=light).start(), wire
        wire.cut()


def test_docker_out_of_reach(wired: tuple[Api, Wire]) -> None:
    api, wire = wired
    made = api.create("kept")
    path = f"/api/projects/{made['id']}"
    with api.client.stream("GET", "/api/events") as answer:
        news = (line for line in answer.iter_lines() if line.startswith("event: "))
        assert len({next(news), next(news), next(news)}) == 3
        wire.cut()
        assert next(news) == "event: workspaces"  # pages that are open say so, too
    for page in ("/", f"/workspaces/{made['id']}"):
        assert "Docker does not answer." in api.get(page).text
    eventually(lambda: api.get("/api/health").json().get("docker") == "unavailable", "it is noticed", SOON)
    for read in ("/api/projects/", path, f"{path}/notes", "/api/projects/groups", "/api/jobs", "/api/workspace/stats"):
        assert api.get(read).status_code == 200, read
    assert api.status(made["id"]) == "running"
    # What only the database has can still be changed.
    assert api.put(f"{path}/notes", {"notes": "n"}).status_code == 200
    assert api.put(f"{path}/name", {"name": "renamed"}).status_code == 200
    for answer in (
        api.post("/api/projects/create", {"projectName": "not-now", "projectType": "empty"}),
        api.post(f"{path}/stop"),
        api.delete(path),
        api.post(f"{path}/clone", {"count": 1}),
        api.put(f"{path}/password", {"newPassword": "long-enough-1"}),
        api.get(f"{path}/disk-usage"),
        api.post("/api/workspace/cleanup"),
    ):
        is_error(answer, 503, "SERVICE_UNAVAILABLE")
    # Bad input is bad input, also now.
    is_error(api.post("/api/projects/create", {"projectName": "a"}), 400)
    assert [row["name"] for row in api.instance.rows()] == ["renamed"]
    # What happens meanwhile is seen afterwards.
    api.instance.container(made).stop(timeout=0)
    wire.mend()
    eventually(lambda: "docker" not in api.get("/api/health").json(), "it recovers", SOON)
    eventually(lambda: api.status(made["id"]) == "stopped", "it looks at everything anew", SOON)
    assert api.post(f"{path}/start").status_code == 200


def test_docker_goes_away_in_the_middle(wired: tuple[Api, Wire]) -> None:
    """Waiting callers get an error; the jobs continue after the outage and complete."""
    api, wire = wired
    base = api.create("base")
    ids, job = api.clone(base["id"], 3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.post, "/api/projects/create", {"projectName": "other", "projectType": "empty"})
        for event in api.stream(job):
            if event["event"] == "progress":
                break

        def begun() -> dict[str, Any] | None:
            newest = api.newest_job("create")
            assert newest is not None
            return newest if newest["projectIds"] != [base["id"]] and newest["state"] != "pending" else None

        create = eventually(begun, "the create has begun")
        wire.cut()
        answer = waiting.result(120)
        if answer.status_code != 201:
            told = is_error(answer, 503, "SERVICE_UNAVAILABLE", "job")
            assert told["details"]["job"] == create["id"]
    assert api.job(job)["state"] == "running"
    wire.mend()
    assert api.ended(job)["state"] == "successful"
    assert api.ended(create["id"])["state"] == "successful"
    assert {api.status(id) for id in (base["id"], *create["projectIds"], *ids)} == {"running"}
    assert api.instance.container(base).status == "running"
    api.instance.is_tidy(["base", "base 1", "base 2", "base 3", "other"])


def test_a_job_is_canceled_while_docker_is_away(wired: tuple[Api, Wire]) -> None:
    api, wire = wired
    base = api.create("base")
    ids, job = api.clone(base["id"], 2)
    for event in api.stream(job):
        if event["event"] == "progress":
            break
    wire.cut()
    told = "Docker does not answer"
    eventually(lambda: any(told in str(event["data"]) for event in api.stream_so_far(job)), "it waits")
    assert api.post(f"/api/jobs/{job}/cancel").status_code == 202
    wire.mend()
    assert api.ended(job)["state"] == "canceled"
    assert {api.status(id) for id in ids} <= {"error", "running"}
    for id in ids:
        assert api.delete(f"/api/projects/{id}").status_code == 200
    eventually(lambda: api.status(base["id"]) == "running", "the source goes on")
    api.instance.is_tidy(["base"])


# --- A dockerd that may be killed -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second(engine: docker.DockerClient, light: str) -> Iterator[Dockerd]:
    """A dockerd of our own, with a workspace image and a network."""
    daemon = Dockerd(Path(tempfile.mkdtemp(prefix="atelier-dockerd-")), SECOND_BRIDGE)
    try:
        with closing(daemon.start()) as client:
            name = f"{light}/workspace:empty"
            client.images.load(engine.images.get(name).save(named=name))
            client.networks.create(
                "second",
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=SECOND_SUBNET)]),
                options={"com.docker.network.bridge.name": SECOND_BRIDGE},
            )
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def on_second(second: Dockerd, light: str) -> Iterator[Api]:
    folder = Path(tempfile.mkdtemp(prefix="atelier-api-second-"))
    instance = Instance("atelier-api-second", folder, SECOND_SUBNET, "second", second.url, light)
    api = Api(instance)
    yield api.start()
    api.close()
    instance.remove()


def all_settled(api: Api, ids: list[str]) -> None:
    api.wait_for_quiet()
    eventually(lambda: "docker" not in api.get("/api/health").json(), "Docker is back")
    for id in ids:
        assert api.status(id) in ("running", "stopped", "error")
    assert api.instance.snapshot_tags() == []


@pytest.mark.parametrize(
    ("end", "settings"),
    [
        (Dockerd.terminate, {}),
        (Dockerd.kill, {}),
        (Dockerd.kill, {"live-restore": True}),
        (Dockerd.kill_containerd, {}),
        (Dockerd.pull_the_plug, {}),
    ],
    ids=["restarted", "killed", "killed, live-restore", "containerd killed", "host"],
)
def test_dockerd_restarts_in_the_middle(
    second: Dockerd, on_second: Api, end: Callable[[Dockerd], None], settings: dict[str, Any]
) -> None:
    """Whatever its configuration, what should run answers within 30 seconds of its return, and the jobs end as they
    were asked for. After a crash Docker itself would leave the seats stopped."""
    api = on_second
    second.configure(**settings)
    base = api.create("base")
    by_api, by_hand = api.create("asleep"), api.create("put-down")
    assert api.post(f"/api/projects/{by_api['id']}/stop").status_code == 200
    api.instance.container(by_hand).stop(timeout=0)
    # A dockerd that goes down stops its containers, too: only one that goes on answering tells a person's wish.
    wanted = "SELECT wanted FROM workspaces WHERE name = 'put-down'"
    eventually(lambda: api.instance.query(wanted)[0]["wanted"] == "stopped", "the stop by hand counts")
    ids, clone = api.clone(base["id"], 3)
    other, create = api.begin("other")
    for event in api.stream(clone):
        if event["event"] == "progress":
            break
    end(second)
    second.start().close()
    back = time.monotonic()
    all_settled(api, [base["id"], other, *ids])
    for job in (clone, create):
        ended = api.job(job)
        assert ended["state"] == "successful", ended["error"] or [seat["error"] for seat in ended["seats"]]
    for row in api.instance.rows():
        if row["name"] in ("asleep", "put-down"):
            continue
        left = back + 30 - time.monotonic()
        eventually(lambda row=row: is_healthy(row["address"]), f"{row['name']} answers", left)  # type: ignore[misc]
        eventually(lambda row=row: api.status(row["id"]) == "running", f"{row['name']} runs")  # type: ignore[misc]
    assert [api.status(made["id"]) for made in (by_api, by_hand)] == ["stopped", "stopped"]
    revivals = api.instance.query("SELECT state, error FROM jobs WHERE operation = 'revive'")
    assert all(job["state"] == "successful" for job in revivals), revivals
    api.instance.is_tidy(["asleep", "base", "base 1", "base 2", "base 3", "other", "put-down"])


def test_a_dockerd_killed_while_it_paused_the_source(second: Dockerd, on_second: Api) -> None:
    """Docker then says that the seat runs, refuses to pause it and refuses to unpause it."""
    api = on_second
    second.configure(**{"live-restore": True})
    base = api.create("base")
    container = api.instance.container(base).id
    journals = api.instance.state / "snapshots"
    journals.mkdir(mode=0o700, exist_ok=True)
    (journals / f"{base['id']}.json").write_text(json.dumps({"container": container, "paused": True, "secrets": []}))
    second.kill_while_it_pauses(container)
    second.start().close()
    eventually(lambda: "docker" not in api.get("/api/health").json(), "Docker is back")
    assert api.instance.container(base).status == "running"
    _, clone = api.clone(base["id"], 1)
    api.wait_for_quiet()
    assert api.job(clone)["state"] == "successful", api.job(clone)["error"]
    for row in api.instance.rows():
        eventually(lambda row=row: is_healthy(row["address"]), f"{row['name']} answers")  # type: ignore[misc]


def test_the_machine_goes_down_in_the_middle(second: Dockerd, on_second: Api) -> None:
    """Docker, its containers and the API are killed at once, and all started again."""
    api = on_second
    base = api.create("base")
    ids, clone = api.clone(base["id"], 3)
    other, create = api.begin("other", passwordProtected=True, password="some-password-1")
    for event in api.stream(clone):
        if event["event"] == "progress":
            break
    api.kill()
    under_way = [job for job in (clone, create) if not api.has_ended(job)]
    assert clone in under_way
    second.pull_the_plug()
    api.start(wait=False)
    eventually(api.answers, "the API answers without Docker")
    assert api.get("/api/health").json()["docker"] == "unavailable"
    assert {api.status(id) for id in (*ids, other)} <= {"creating", "running"}
    second.start().close()
    all_settled(api, [base["id"], other, *ids])
    for job in (clone, create):
        assert api.job(job)["state"] == "successful", api.job(job)
    for job in under_way:
        assert "resumed" in [event["event"] for event in api.events(job)]
    for row in api.instance.rows():
        eventually(lambda row=row: is_healthy(row["address"]), f"{row['name']} answers")  # type: ignore[misc]
        assert api.status(row["id"]) == "running"
    api.instance.is_tidy(["base", "base 1", "base 2", "base 3", "other"])
