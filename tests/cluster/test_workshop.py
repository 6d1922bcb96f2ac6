"""One installation on three machines: seats on each of them, and people's view when one moves or is lost."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from backports import zstd
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.conftest import PATIENCE_MS, enter, launch, visit
from tests.installed import ROOT
from tests.waiting import eventually

from .installation import INSTANCE, PORT, Cluster
from .machines import Machine, away, kill_docker

# The first test waits for the first `up`.
pytestmark = pytest.mark.timeout(2400)
PASSWORD = "one-of-her-own"
CROWD = [f"Crowd {number}" for number in range(1, 13)]
MARK = "what somebody wrote"
PUSH = "cd /workspace && date > pushed.txt && git add -A && git commit -qm pushed && git push -q 2>&1; git status -sb"


WORDS = {file.stem: json.loads(file.read_text()) for file in (ROOT / "api/web/locales").glob("*.json")}


def on(cluster: Cluster, node: str) -> list[dict[str, Any]]:
    return [seat for seat in cluster.seats() if seat["node"] == node]


def test_seats_are_on_all_machines_and_open_through_one_address(cluster: Cluster) -> None:
    seats = cluster.seats()
    assert {seat["status"] for seat in seats} == {"running"}, [seat["error"] for seat in seats]
    assert Counter(seat["node"] for seat in seats) == {"controller": 2, "alpha": 2, "beta": 2}
    assert len({seat["gitRepository"]["branch"] for seat in seats}) == len(seats), "each has its branch"
    for seat in seats:
        eventually(lambda seat=seat: cluster.opens(seat), seat["name"])  # type: ignore[misc]
    nodes = cluster.nodes()
    assert [(name, node["state"], node["seats"]) for name, node in nodes.items()] == [
        ("controller", "ready", 2),
        ("alpha", "ready", 2),
        ("beta", "ready", 2),
    ]
    assert nodes["alpha"]["memoryPromised"] == 2 * 1024**3
    wanted = {f'atelier_node_disk_free_bytes{{node="{name}"}}' for name in nodes}
    eventually(
        lambda: all(figure in cluster.ask("localhost", "/metrics")[1] for figure in wanted),
        "the free space of each disk is known",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


def test_seats_on_two_machines_open_in_a_browser(cluster: Cluster, browser: Browser) -> None:
    for node in ("alpha", "beta"):
        seat = on(cluster, node)[0]
        machine = cluster.machine(node)
        cluster.in_seat(machine, seat, f"touch /workspace/is-on-{node}.txt")
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        file = page.get_by_role("treeitem", name=f"is-on-{node}.txt")
        enter(page, f"http://{seat['id']}.localhost:{PORT}/", cluster.password(seat))
        # Its files come by the IDE's WebSocket, through both gateways.
        expect(file).to_be_visible(timeout=PATIENCE_MS)
        # What is written there is on that machine.
        file.dblclick()
        editor = page.locator(".editor-instance .view-lines")
        expect(editor).to_be_visible(timeout=PATIENCE_MS)
        editor.click()
        page.keyboard.type("written in a browser")
        page.keyboard.press("Control+s")
        eventually(
            lambda machine=machine, seat=seat, node=node: (  # type: ignore[misc]
                cluster.in_seat(machine, seat, f"cat /workspace/is-on-{node}.txt") == "written in a browser"
            ),
            "the file is saved",
        )
        page.context.close()


def test_a_seat_that_sleeps_on_a_node_starts_when_it_is_opened(cluster: Cluster, browser: Browser) -> None:
    seat, neighbour = on(cluster, "alpha")[:2]
    order = ("-e", f"workspace_id={seat['id']}", "-e", "workspace_stop_reason=idle")
    cluster.run("play", "workspace_stop", *order)
    table = cluster.state / "gateway" / "asleep.map"
    eventually(lambda: table.read_text().split() == [seat["id"], "asleep"], "the gateway knows that it sleeps")
    page = browser.new_page()
    visit(page, seat["workspaceUrl"], page.get_by_placeholder("PASSWORD"))
    page.close()
    eventually(lambda: table.read_text() == "", "the gateway knows that it runs")
    assert {seat["status"], *(found["status"] for found in on(cluster, "alpha"))} == {"running"}
    # What a person stopped stays so.
    cluster.api("POST", f"/api/projects/{neighbour['id']}/stop", {"password": cluster.password(neighbour)})
    status, told = cluster.ask(f"{neighbour['id']}.localhost", "/")
    assert (status, "stopped" in told) == (503, True), told
    cluster.api("POST", f"/api/projects/{neighbour['id']}/start")


def test_a_seat_on_a_node_pushes_to_the_git_server(cluster: Cluster, alpha: Machine) -> None:
    seat = on(cluster, "alpha")[0]
    assert "ahead" not in cluster.in_seat(alpha, seat, PUSH)


def with_claim_and_alias(cluster: Cluster, seat: dict[str, Any], subdomain: str) -> dict[str, Any]:
    """Its claim, after somebody claimed it, and gave port 3000 a name that leads to its files."""
    number = 0
    while not (claim := claim_of(cluster, seat)):
        number += 1
        assert number < 6, "there are five seats"
        cluster.api("POST", "/api/workshop/claim", {"name": "Ann", "email": f"ann-{number}@{subdomain}.example"})
    cluster.api("POST", f"/api/projects/{seat['id']}/aliases", {"subdomain": subdomain, "port": 3000})
    return claim


def claim_of(cluster: Cluster, seat: dict[str, Any]) -> dict[str, Any]:
    claims = cluster.api("GET", "/api/workshop/claims")["claims"]
    return next((dict(claim) for claim in claims if claim["projectId"] == seat["id"]), {})


def leads_to(cluster: Cluster, machine: Machine, seat: dict[str, Any], subdomain: str) -> bool:
    """Whether the alias opens the seat's port, on which a program is started."""
    (container,) = cluster.containers(machine.name, seat["id"])
    machine.run("docker", "exec", "--detach", container, "python3", "-m", "http.server", "-d", "/etc", "3000")
    hostname = (200, cluster.in_seat(machine, seat, "cat /etc/hostname") + "\n")
    return bool(
        eventually(lambda: cluster.ask(f"{subdomain}.localhost", "/hostname") == hostname, "the alias opens it")
    )


def test_a_seat_is_moved_with_its_files_and_keeps_its_address(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = next(seat for seat in on(cluster, "alpha") if seat["clonedFrom"])
    claim = with_claim_and_alias(cluster, seat, "on-the-move")
    assert leads_to(cluster, alpha, seat, "on-the-move")
    cluster.in_seat(
        alpha, seat, f"echo '{MARK}' > /workspace/mine.txt; echo secret-canary > ~/.netrc; chmod 600 ~/.netrc"
    )
    moved = cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "beta"})["project"]
    assert (moved["node"], moved["status"], moved["workspaceUrl"]) == ("beta", "running", seat["workspaceUrl"])
    eventually(lambda: cluster.opens(seat), "its address opens it on the other machine")
    assert cluster.in_seat(beta, seat, "cat /workspace/mine.txt ~/.netrc").splitlines() == [MARK, "secret-canary"]
    assert not alpha.run("docker", "ps", "-aq", "--filter", f"label=atelier.workspace={seat['id']}")
    history = beta.run("sh", "-c", "docker image ls -q --no-trunc | xargs docker image inspect")
    assert "secret-canary" not in history
    assert "ahead" not in cluster.in_seat(beta, seat, PUSH)
    assert claim_of(cluster, seat) == claim
    assert leads_to(cluster, beta, seat, "on-the-move")
    assert cluster.stored("snapshot") == [], "what only traveled is deleted"


def proxied(cluster: Cluster, mode: str, node: str) -> dict[str, Any]:
    """A new seat of that mode on that machine."""
    body = {"projectName": f"proxied-{mode}", "projectType": "empty", "proxyMode": mode}
    seat = cluster.api("POST", "/api/projects/create", body)["project"]
    if seat["node"] != node:
        seat = cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": node})["project"]
    assert (seat["node"], seat["status"]) == (node, "running")
    return dict(seat)


def fetched(cluster: Cluster, machine: Machine, seat: dict[str, Any], name: str) -> str:
    """The status that a program in the seat gets for a page of that host; 000 for no answer."""
    return cluster.in_seat(machine, seat, f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' http://{name}/ || true")


@pytest.mark.usefixtures("world")
def test_a_whitelist_holds_on_every_machine(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = proxied(cluster, "security", "alpha")
    assert fetched(cluster, alpha, seat, "allowed.example") == "403"
    listed = ["allowed.example", "machine.example"]
    changed = cluster.api("PUT", "/api/whitelist", {"domains": listed})
    assert "nodesBehind" not in changed
    assert fetched(cluster, alpha, seat, "allowed.example") == "200"
    assert fetched(cluster, alpha, seat, "other.example") == "403"
    assert fetched(cluster, alpha, seat, "machine.example") == "403", "an allowed name never leads to a machine"
    # Nor is there another way to the machines.
    addresses = [cluster.machines.controller_address, alpha.address, beta.address, "172.20.96.1"]
    for address in addresses:
        ports = f"22 2375 2376 2377 5000 7443 7946 18175 18176 {PORT}"
        knock = f"timeout 2 bash -c '</dev/tcp/{address}/'$port 2>/dev/null && echo $port"
        assert not cluster.in_seat(alpha, seat, f"for port in {ports}; do ({knock}) & done; wait"), address
    for host in ("machine.example", *addresses[:3]):
        tunnel = f"curl -s -m 5 -o /dev/null -w '%{{http_connect}}' https://{host}/ || true"
        assert cluster.in_seat(alpha, seat, tunnel) == "403", host

    # Its list is there before it, when it is moved.
    cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "beta"})
    assert fetched(cluster, beta, seat, "allowed.example") == "200"

    def outcomes() -> Counter[tuple[str, str]]:
        logged = cluster.api("GET", f"/api/projects/{seat['id']}/squid-logs")
        assert "unanswered" not in logged
        return Counter((line["url"], line["status"].rpartition("/")[2]) for line in logged["logs"])

    eventually(lambda: outcomes()["http://allowed.example/", "200"] == 2, "lines of both machines")

    # A machine that is away is named, and has the list when it is back.
    beta.container.pause()
    try:
        behind = cluster.api("PUT", "/api/whitelist", {"domains": []})["nodesBehind"]
        assert [node["node"] for node in behind] == ["beta"]
        logged = cluster.api("GET", f"/api/projects/{seat['id']}/squid-logs")
        assert logged["unanswered"] == ["beta"]
    finally:
        beta.container.unpause()
    eventually(lambda: fetched(cluster, beta, seat, "allowed.example") == "403", "the change reaches the machine")
    cluster.api("DELETE", f"/api/projects/{seat['id']}")


@pytest.mark.usefixtures("world")
def test_squid_on_a_machine_ends_without_its_controller(cluster: Cluster, alpha: Machine) -> None:
    seat = proxied(cluster, "security", "alpha")
    assert fetched(cluster, alpha, seat, "other.example") == "403"
    api = cluster.client.containers.get(f"{INSTANCE}-api")
    api.stop()
    try:
        eventually(lambda: fetched(cluster, alpha, seat, "other.example") == "000", "its proxy ends")
    finally:
        api.start()
    eventually(lambda: fetched(cluster, alpha, seat, "other.example") == "403", "its proxy is back")
    cluster.api("DELETE", f"/api/projects/{seat['id']}")


@pytest.mark.usefixtures("world")
def test_recordings_are_found_wherever_the_seat_was(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = proxied(cluster, "logging", "alpha")
    path = f"/api/projects/{seat['id']}"
    ask = (
        "curl -s -m 10 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json'"
        ' -d \'{"model": "test", "messages": [{"role": "user", "content": "hello"}]}\''
        " http://llm.example/v1/chat/completions"
    )
    assert cluster.in_seat(alpha, seat, ask) == "200"
    assert fetched(cluster, alpha, seat, "machine.example") not in ("200", "000")
    conversations = f"{path}/llm-conversations"
    eventually(lambda: cluster.api("GET", conversations)["total"] == 1, "the first is found")
    cluster.api("POST", f"{path}/move", {"node": "beta"})
    assert cluster.in_seat(beta, seat, ask) == "200"
    eventually(lambda: cluster.api("GET", conversations)["total"] == 2, "both are found")
    found = cluster.api("GET", conversations)["conversations"]
    assert [one["parsed_request"]["messages"][0]["content"] for one in found] == ["hello", "hello"]
    eventually(
        lambda: cluster.api("GET", f"{path}/recorded-domains")["domains"].get("llm.example", {}).get("count") == 2,
        "requests of both machines are counted",
    )
    cluster.api("DELETE", f"{conversations}/{found[1]['timestamp']}")
    assert cluster.api("GET", conversations)["total"] == 1
    cluster.api("DELETE", path)
    for machine in (alpha, beta):
        assert seat["id"] not in machine.run("ls", f"{cluster.state}/recordings")


def crowd(cluster: Cluster) -> list[dict[str, Any]]:
    return [seat for seat in cluster.seats() if seat["name"] in CROWD]


def test_twelve_seats_are_cloned_although_a_machine_dies_meanwhile(cluster: Cluster, beta: Machine) -> None:
    """The others go on, and the same command makes what is missing when it is back."""
    clone = ("play", "workspace_clone", "-e", json.dumps({"clone_source": "Workshop", "clone_names": CROWD}))
    before = len(cluster.containers("beta", all=True))
    with ThreadPoolExecutor(1) as beside:
        run = beside.submit(cluster.run, *clone, fails=True)
        eventually(lambda: len(cluster.containers("beta", all=True)) > before, "the first seat is made there", 120)
        with away(beta, "power"):
            assert "The machine beta does not answer" in run.result()
            lost = [seat for seat in crowd(cluster) if seat["status"] != "running"]
            assert {seat["node"] for seat in lost} == {"beta"} and len(crowd(cluster)) == len(CROWD), lost
    eventually(lambda: cluster.nodes()["beta"]["state"] == "ready", "it is back")
    cluster.run(*clone)
    assert {seat["status"] for seat in crowd(cluster)} == {"running"}
    eventually(lambda: all(cluster.opens(seat) for seat in cluster.seats()), "all open")


def test_each_machine_s_docker_is_killed_and_its_seats_go_on(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    for machine in (alpha, beta):
        kill_docker(machine)
        # Its successor has found the seats, or started them again.
        eventually(lambda: all(cluster.opens(seat) for seat in cluster.seats()), "all open")
        eventually(lambda: {seat["status"] for seat in cluster.seats()} == {"running"}, "the list says so")


def test_work_on_all_machines_is_collected_before_it_is_removed(cluster: Cluster, alpha: Machine) -> None:
    seats, folder = crowd(cluster), cluster.state.with_name("archives")
    of_alpha = next(seat for seat in seats if seat["node"] == "alpha")
    cluster.in_seat(alpha, of_alpha, f"echo '{MARK}' > /workspace/mine.txt")
    words = ("-e", json.dumps({"workshop_ids": [seat["id"] for seat in seats], "workshop_archive": str(folder)}))
    cluster.run("play", "workshop_collect", *words)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {seat["name"]: folder / seat["file"] for seat in manifest["seats"]}
    assert files.keys() == set(CROWD)
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(files[of_alpha["name"]].read_bytes()))) as content:
        assert any(name.endswith("mine.txt") for name in content.getnames())
    cluster.run("play", "workshop_teardown", *words, "-e", "confirm=true")
    assert crowd(cluster) == []
    assert cluster.containers("alpha", of_alpha["id"], all=True) == []


@pytest.mark.parametrize("how", ["hang", "network"])
def test_a_machine_that_is_away_delays_nobody_and_returns(cluster: Cluster, beta: Machine, how: str) -> None:
    there, others = on(cluster, "beta"), on(cluster, "controller") + on(cluster, "alpha")
    with away(beta, how):
        begun = time.monotonic()
        eventually(
            lambda: cluster.ask(f"{there[0]['id']}.localhost", "/")[0] == 503, "the page says that it is away", 10
        )
        assert time.monotonic() - begun < 8
        for language, words in WORDS.items():
            status, page = cluster.ask(f"{there[0]['id']}.localhost", "/", headers={"Accept-Language": language})
            assert (status, words["gateway.machine_away.title"] in page) == (503, True), (language, page)
        eventually(lambda: all(cluster.opens(seat) for seat in others), "the others open")
        eventually(
            lambda: {seat["status"] for seat in on(cluster, "beta")} == {"error"}, "the list says that it is away"
        )
        assert {seat["status"] for seat in on(cluster, "alpha")} == {"running"}
        # Work on a seat elsewhere does not wait for it.
        begun = time.monotonic()
        cluster.api("POST", f"/api/projects/{others[0]['id']}/checkpoint")
        assert time.monotonic() - begun < 60
    eventually(lambda: all(cluster.opens(seat) for seat in there), "its seats answer again")
    eventually(lambda: {seat["status"] for seat in on(cluster, "beta")} == {"running"}, "the list says so")


def test_a_machine_is_emptied_and_used_again(cluster: Cluster) -> None:
    cluster.run("play", "node_drain", "-e", "node_name=alpha")
    assert not on(cluster, "alpha")
    assert cluster.nodes()["alpha"]["availability"] == "paused"
    eventually(lambda: all(cluster.opens(seat) for seat in cluster.seats()), "all open")
    cluster.run("play", "node_activate", "-e", "node_name=alpha")
    made = cluster.api("POST", "/api/projects/create", {"projectName": "afterwards", "projectType": "empty"})["project"]
    assert made["node"] == "alpha", "it has most room"


def test_up_mends_what_is_missing_and_then_nothing(cluster: Cluster, alpha: Machine) -> None:
    alpha.run("docker", "rm", "--force", f"{INSTANCE}-node-gateway")
    changes = [line for line in cluster.run("up").splitlines() if line.startswith("  changed")]
    assert len(changes) == 1, changes
    eventually(lambda: all(cluster.opens(seat) for seat in on(cluster, "alpha")), "its seats are reached again")
    again = cluster.run("up")
    assert "the platform is as the last run left it" in again and "Done: 0 changed" in again


def test_a_lost_machine_s_seats_begin_elsewhere(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    """The last one: alpha is gone afterwards."""
    seat = next(seat for seat in on(cluster, "beta") if seat["gitRepository"] and seat["clonedFrom"])
    claim = with_claim_and_alias(cluster, seat, "not-lost")
    cluster.api("POST", f"/api/projects/{seat['id']}/checkpoint")
    cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "alpha"})
    (without,) = (other for other in on(cluster, "alpha") if other["id"] != seat["id"])
    assert len(cluster.api("GET", f"/api/projects/{seat['id']}/checkpoints")["checkpoints"]) == 1, "it followed"
    assert f"checkpoint:{seat['id']}" not in beta.run("docker", "images")
    password = ("-e", f"workspace_id={seat['id']}", "-e", f"workspace_password={PASSWORD}")
    cluster.run("play", "workspace_password", *password)
    cluster.in_seat(alpha, seat, f"echo '{MARK}' > /workspace/kept.txt; echo secret-canary > ~/.netrc")
    assert "warnings" not in cluster.api("POST", f"/api/projects/{seat['id']}/checkpoint")
    cluster.in_seat(alpha, seat, f"echo '{MARK}' > /workspace/lost.txt")
    config = cluster.in_seat(alpha, seat, "cat /etc/code-server/config.yaml")
    elsewhere = {"from": "checkpoint", "node": "beta"}
    status, answer = cluster.ask("localhost", f"/api/projects/{seat['id']}/move", "POST", elsewhere)
    assert (status, "alpha answers" in answer) == (400, True), answer
    assert "node_drain" in cluster.run("play", "node_remove", "-e", "node_name=alpha", fails=True)

    alpha.container.kill()
    eventually(lambda: cluster.nodes()["alpha"]["state"] != "ready", "the machine is known to be away")
    begun = cluster.api("POST", f"/api/projects/{seat['id']}/move", elsewhere)
    assert (begun["origin"], begun["project"]["node"], begun["project"]["status"]) == ("checkpoint", "beta", "running")
    assert "is lost" in begun["lost"] and begun["checkpointTakenAt"] in begun["lost"]
    assert begun["project"]["workspaceUrl"] == seat["workspaceUrl"]
    assert begun["project"]["gitRepository"] == seat["gitRepository"]
    eventually(lambda: cluster.opens(seat), "its address opens it on the other machine")
    assert cluster.in_seat(beta, seat, "cd /workspace; cat kept.txt; ls lost.txt 2>/dev/null; cat ~/.netrc") == MARK
    assert cluster.in_seat(beta, seat, "cat /etc/code-server/config.yaml") == config, "its password"
    assert "ahead" not in cluster.in_seat(beta, seat, PUSH)
    assert claim_of(cluster, seat) == claim
    assert leads_to(cluster, beta, seat, "not-lost")

    answer = cluster.run("play", "workspace_move", "-e", "move_from=checkpoint", "-e", "node_name=alpha", fails=True)
    assert "no checkpoint" in answer
    assert "-e force=true" in cluster.run("play", "node_remove", "-e", "node_name=alpha", fails=True)
    assert "Delete it from the inventory" in cluster.run(
        "play", "node_remove", "-e", "node_name=alpha", "-e", "force=true"
    )
    (shown,) = on(cluster, "alpha")
    assert (shown["id"], shown["status"], "was removed" in shown["error"]) == (without["id"], "error", True)
    cluster.run("play", "workspace_move", "-e", "move_from=checkpoint_or_base", "-e", "node_name=alpha")
    eventually(lambda: cluster.opens(without), "it is empty, but it opens")
    cluster.machines.stop(alpha)
    assert "Done: 0 changed" in cluster.run("play", "node_remove", "-e", "node_name=alpha")

    cluster.api("DELETE", f"/api/projects/{seat['id']}", {"password": PASSWORD})
    assert cluster.stored("snapshot") == []
    assert not [name for name in cluster.stored("checkpoint") if seat["id"] in name]
    cluster.run("play", "reconcile", "-e", "repair=true")
    assert not (cluster.state / "registry-garbage").exists()
    assert "Done: 0 changed" in cluster.run("play", "reconcile", "-e", "repair=true")
