"""Outgoing traffic of real seats: the whitelist is enforced, and conversations are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
import httpx
import pytest
from docker.models.containers import Container
from playwright.sync_api import Browser

from tests.installed import Installation
from tests.planted_secrets import holders
from tests.waiting import eventually

from .conftest import PORT, in_terminal, visit
from .internet import ADDRESS, ALLOWED, BLOCKED, MODELS

CANARY = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz"
# A chat as a program in a seat has it: streamed, with the key in a header.
CHAT = f"""
curl -sS -N https://{MODELS}/v1/chat/completions -H 'Authorization: Bearer {CANARY}' \
  -H 'Content-Type: application/json' \
  -d '{{"model": "gpt-4o", "stream": true, "messages": [{{"role": "user", "content": "What is a palindrome?"}}]}}'
"""
# Each of them brings or reads its own bundle, and must trust the recorder's authority; with what it then says. For
# pip and git it is no index and no repository that they find: that they say so means that they took the certificate.
SITE = "https://packages.school.example"
JAVA = """
class Get {
  public static void main(String[] names) throws Exception {
    var address = java.net.URI.create(names[0]);
    System.out.println(new String(address.toURL().openStream().readAllBytes()));
  }
}
"""
TRUSTING = {
    "curl": (f"curl -sS {SITE}/", "hello"),
    "python": (f"python3 -c \"import urllib.request as u; print(u.urlopen('{SITE}/').read())\"", "hello"),
    "node": (f"node -e \"fetch('{SITE}/').then(a => a.text()).then(console.log)\"", "hello"),
    "npm": (f"npm ping --registry {SITE}/ --fetch-retries 0", "PONG"),
    "pip": (f"pip download --retries 0 --no-deps --index-url {SITE}/simple nothing", "No matching distribution"),
    "java": (f"printf '%s' '{JAVA}' >/tmp/Get.java && java /tmp/Get.java {SITE}/", "hello"),
    "git": (f"git ls-remote {SITE}/repository.git && echo nothing there", "nothing there"),
}


@pytest.fixture(scope="module")
def api(installation: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}/api", timeout=120) as client:
        yield client


def created(api: httpx.Client, name: str, mode: str, template: str = "empty") -> dict[str, Any]:
    answer = api.post("/projects/create", json={"projectName": name, "projectType": template, "proxyMode": mode})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["project"]
    assert made["proxyMode"] == mode
    return made


@pytest.fixture(scope="module")
def locked(api: httpx.Client) -> dict[str, Any]:
    return created(api, "locked", "security")


@pytest.fixture(scope="module")
def recorded(api: httpx.Client) -> dict[str, Any]:
    return created(api, "recorded", "logging", "java-spring")


def container(project: dict[str, Any]) -> Container:
    (found,) = docker.from_env().containers.list(filters={"label": f"atelier.workspace={project['id']}"})
    return found


def run(project: dict[str, Any], command: str) -> tuple[int, str]:
    """A command in the seat, with the environment of its programs."""
    code, output = container(project).exec_run(["timeout", "120", "bash", "-c", command], workdir="/workspace")
    return int(code), output.decode(errors="replace")


def test_a_whitelisted_name_answers_in_a_browsers_terminal(
    api: httpx.Client, locked: dict[str, Any], browser: Browser
) -> None:
    answer = api.put("/whitelist", json={"domains": [ALLOWED, f"deeper.{ALLOWED}"]})
    assert answer.status_code == 200, answer.text
    assert f".{ALLOWED}" in answer.json()["domains"]
    assert f".deeper.{ALLOWED}" not in answer.json()["domains"]
    shown = api.get("/whitelist").json()
    assert shown["domains"] == answer.json()["domains"]
    assert f".{ALLOWED}" in shown["raw"]
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    visit(page, locked["workspaceUrl"], page.get_by_role("treeitem", name="README.md"))
    # The answers become a file's name, which the explorer shows.
    in_terminal(
        page,
        f"touch got-$(curl -sk https://{ALLOWED})-$(curl -sk -o /dev/null -w '%{{http_connect}}' https://{BLOCKED}).txt\n",
        page.get_by_role("treeitem", name="got-hello-403.txt"),
    )
    page.context.close()
    wanted = {(f"{ALLOWED}:443", "TCP_TUNNEL/200"), (f"{BLOCKED}:443", "TCP_DENIED/403")}

    def logged() -> Any:
        found = api.get(f"/projects/{locked['id']}/squid-logs").json()
        return found if wanted <= {(entry["url"], entry["status"]) for entry in found["logs"]} else None

    logs = eventually(logged, "Squid has written of both")
    assert {entry["clientIP"] for entry in logs["logs"]} == {logs["ipAddress"]}


@pytest.mark.parametrize("mode", ["locked", "recorded"])
def test_no_other_way_out(mode: str, request: pytest.FixtureRequest) -> None:
    project = request.getfixturevalue(mode)
    bridge, other = "172.24.192.1", "172.24.128.1:8080"
    if mode == "recorded":
        bridge, other = "172.24.128.1", "172.24.192.1:3128"
    for attempt in (
        f"curl -sk --noproxy '*' -m 3 https://{ADDRESS}/",
        f"getent hosts {ALLOWED}",
        "getent hosts www.debian.org",
        f"curl -sk -m 3 --proxy http://{other} https://{ALLOWED}/",
        "curl -s --noproxy '*' -m 3 http://169.254.169.254/",
        f"curl -s --noproxy '*' -m 3 http://{bridge}:{PORT}/api/health | grep '\"ok\"'",
        "curl -s --noproxy '*' -m 3 -g 'http://[2001:db8::1]/'",
        "curl -s --noproxy '*' -m 3 -g 'http://[fd00:ec2::254]/'",
    ):
        code, output = run(project, attempt)
        assert code != 0, (attempt, output)


def test_an_open_seat_uses_no_proxy(api: httpx.Client) -> None:
    project = created(api, "open", "none")
    for proxy in ("172.24.192.1:3128", "172.24.128.1:8080"):
        assert run(project, f"curl -sk -m 3 --proxy http://{proxy} https://{ALLOWED}/")[0] != 0
    assert not [line for line in container(project).attrs["Config"]["Env"] if "proxy" in line.lower()]
    assert api.delete(f"/projects/{project['id']}").status_code == 200


def test_a_group_may_reach_more(api: httpx.Client, locked: dict[str, Any]) -> None:
    ask = f"curl -sk -o /dev/null -w '%{{http_connect}}' https://{BLOCKED}/"
    assert run(locked, ask)[1] == "403"
    answer = api.put("/whitelist", json={"domains": [BLOCKED], "group": "advanced"})
    assert answer.json()["domains"] == [f".{BLOCKED}"]
    assert run(locked, ask)[1] == "403"
    assert api.put(f"/projects/{locked['id']}/group", json={"group": "advanced"}).status_code == 200
    code, _ = run(locked, f"for _ in $(seq 100); do [ $({ask}) = 200 ] && exit 0; sleep 0.1; done; exit 1")
    assert code == 0
    assert f".{BLOCKED}" not in api.get("/whitelist").json()["domains"]


@pytest.mark.parametrize("program", sorted(TRUSTING))
def test_programs_trust_the_recorder(recorded: dict[str, Any], program: str) -> None:
    command, answer = TRUSTING[program]
    assert answer in run(recorded, command)[1]


def test_a_chat_is_recorded_and_becomes_a_document(
    api: httpx.Client, recorded: dict[str, Any], installation: Installation
) -> None:
    code, output = run(recorded, CHAT)
    assert code == 0, output
    assert "data: [DONE]" in output
    path = f"/projects/{recorded['id']}"
    eventually(lambda: api.get(f"{path}/llm-conversations").json()["count"], "the conversation is written")
    (conversation,) = api.get(f"{path}/llm-conversations").json()["conversations"]
    assert conversation["model"].startswith("gpt-4o")
    assert conversation["parsed_request"]["messages"][0]["content"] == "What is a palindrome?"
    assert "A palindrome reads the same backwards." in str(conversation["parsed_response"])
    document = api.post(f"{path}/generate-documentation", json={"type": "detailed"}).json()
    assert document["conversationCount"] == 1
    assert "A palindrome reads the same backwards." in document["documentation"]
    eventually(lambda: MODELS in api.get(f"{path}/recorded-domains").json()["domains"], "the domain is written")
    domains = api.get(f"{path}/recorded-domains").json()
    assert domains["domains"][MODELS]["count"] >= 1
    # Each of them has a category; Other is for those of no known organisation.
    assert sum(map(len, domains["categorized"].values())) == domains["totalDomains"] == len(domains["domains"])
    assert MODELS in [entry["domain"] for entry in domains["categorized"]["AI APIs"]]
    # The key went to the provider and nowhere else.
    assert holders(installation.state_dir, [CANARY]) == []


def test_what_was_recorded_becomes_the_whitelist(api: httpx.Client, recorded: dict[str, Any]) -> None:
    answer = api.post(f"/projects/{recorded['id']}/recorded-domains/whitelist")
    assert answer.status_code == 200, answer.text
    assert {f".{MODELS}", ".packages.school.example"} <= set(answer.json()["domains"])


def test_recordings_are_deleted_one_by_one_all_and_with_the_workspace(
    api: httpx.Client, recorded: dict[str, Any], installation: Installation
) -> None:
    path = f"/projects/{recorded['id']}"
    (conversation,) = api.get(f"{path}/llm-conversations").json()["conversations"]
    assert api.delete(f"{path}/llm-conversations/2001-01-01T00:00:00.000Z").status_code == 404
    assert api.delete(f"{path}/llm-conversations/..%2F..%2Fdomains").status_code in (400, 404)
    assert api.delete(f"{path}/llm-conversations/{conversation['timestamp']}").status_code == 200
    assert api.get(f"{path}/llm-conversations").json()["conversations"] == []
    assert api.delete(f"{path}/llm-conversations").status_code == 200
    assert api.get(f"{path}/recorded-domains").json()["totalDomains"] > 0
    assert api.delete(path).status_code == 200
    assert not (installation.state_dir / "recordings" / recorded["id"]).exists()


def test_clones_are_behind_the_same_proxy(api: httpx.Client, locked: dict[str, Any]) -> None:
    begun = api.post(f"/projects/{locked['id']}/clone", json={"count": 2}).json()
    job = f"/jobs/{begun['jobId']}"
    eventually(lambda: api.get(job).json()["job"]["finishedAt"], "the clones are made")
    assert api.get(job).json()["job"]["state"] == "successful"
    for seat in begun["clones"]:
        assert run({"id": seat["projectId"]}, f"curl -sk https://{ALLOWED}/")[1] == "hello"
        assert api.delete(f"/projects/{seat['projectId']}").status_code == 200
