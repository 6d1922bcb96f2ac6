"""The egress proxy, asked from real containers behind it; the world is one more container, under invented names."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from atelier.egress.squid_log import LogEntry, recent
from conftest import PROJECT, playbook
from docker.models.containers import Container

from tests.waiting import eventually

CONVERGE = Path(__file__).with_name("converge.yml")
INSTANCE = yaml.safe_load((PROJECT / "molecule/common/vars/instance.yml").read_text())
NETWORK: str = INSTANCE["atelier_network_security_name"]
PREFIX = INSTANCE["atelier_network_security_subnet"].rpartition(".")[0]
PROXY, PORT = f"{PREFIX}.1", 3128
SEAT, OTHER_SEAT = f"{PREFIX}.20", f"{PREFIX}.21"
WORLD, STRANGER = "172.31.250.60", "172.31.250.62"

# Answers HTTP and HTTPS with what it was asked.
SERVE = """
import http.server, ssl, subprocess, threading
subprocess.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=world "
               "-keyout /tmp/key -out /tmp/certificate", shell=True, check=True, capture_output=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"the world: {self.requestline}\\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
plain = http.server.ThreadingHTTPServer(("", 80), Handler)
threading.Thread(target=plain.serve_forever).start()
secret = http.server.ThreadingHTTPServer(("", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/certificate", "/tmp/key")
secret.socket = context.wrap_socket(secret.socket, server_side=True)
secret.serve_forever()
"""
# What a program in a seat gets: status and body, or what it says of a refused tunnel.
FETCH = """
import ssl, sys, urllib.error, urllib.request
proxies = urllib.request.ProxyHandler(dict.fromkeys(("http", "https"), sys.argv[2]))
trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
try:
    answer = urllib.request.build_opener(proxies, trusting).open(sys.argv[1], timeout=20)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(error)
"""
# The status line for a request that no library would send.
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as proxy:
    proxy.sendall(sys.argv[3].encode().decode("unicode_escape").encode("latin-1"))
    print(proxy.makefile("rb").readline().decode().strip())
"""
# Ends the first process whose command line holds the word.
KILL = """
import os, pathlib, sys
for process in sorted(pathlib.Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
    words = (process / "cmdline").read_bytes().split(b"\\0")
    if int(process.name) != os.getpid() and sys.argv[1].encode() in [word.rpartition(b"/")[2] for word in words[:2]]:
        os.kill(int(process.name), 9)
        print(process.name)
        break
"""


@pytest.fixture(scope="module")
def squid(site: dict[str, Any]) -> Iterator[Container]:
    client = docker.DockerClient(base_url=site["engine_url"])
    yield client.containers.get(f"{site['instance']}-squid")
    client.close()


@pytest.fixture(scope="module")
def attach(site: dict[str, Any], squid: Container) -> Iterator[Callable[..., Container]]:
    """Starts containers that have Python, at an address of a network; they are removed at the end."""
    client: docker.DockerClient = squid.client
    started: list[Container] = []

    def run(network: str, address: str, *command: str) -> Container:
        container = client.containers.create(
            squid.attrs["Config"]["Image"],
            list(command) or ["sleep", "infinity"],
            entrypoint=[],
            user="root",
            labels={"atelier.instance": site["instance"]},
            init=True,
        )
        started.append(container)
        client.networks.get("bridge").disconnect(container)
        client.networks.get(network).connect(container, ipv4_address=address)
        container.start()
        return container

    yield run
    for container in started:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module", autouse=True)
def world(attach: Callable[..., Container], site: dict[str, Any]) -> None:
    container = attach(site["networks"]["none"]["name"], WORLD, "python3", "-c", SERVE)
    up = "import socket; [socket.create_connection(('127.0.0.1', port), 1) for port in (80, 443)]"
    eventually(lambda: container.exec_run(["python3", "-c", up]).exit_code == 0, "the world listens")


@pytest.fixture(scope="module")
def seat(attach: Callable[..., Container]) -> Container:
    return attach(NETWORK, SEAT)


@pytest.fixture(scope="module")
def other_seat(attach: Callable[..., Container]) -> Container:
    return attach(NETWORK, OTHER_SEAT)


@pytest.fixture(scope="module")
def log(site: dict[str, Any]) -> Callable[..., list[LogEntry]]:
    folder = Path(site["state_dir"]) / "squid" / "log"
    return lambda address=SEAT, lines=50, since=0.0: recent(folder, address, lines, since=since)


def fetch(container: Container, url: str) -> str:
    output: bytes = container.exec_run(["python3", "-c", FETCH, url, f"http://{PROXY}:{PORT}"]).output
    return output.decode().strip()


def send(container: Container, request: str) -> str:
    output: bytes = container.exec_run(["python3", "-c", SEND, PROXY, str(PORT), request]).output
    return output.decode().strip()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["allowed.example", "www.allowed.example", "ALLOWED.example", "allowed.example."])
def test_an_allowed_name_answers(seat: Container, scheme: str, host: str) -> None:
    assert fetch(seat, f"{scheme}://{host}/path").startswith("200 the world: GET /path")


def test_the_world_learns_nothing_of_proxy_and_seat(seat: Container) -> None:
    answer = fetch(seat, "http://allowed.example/").lower()
    assert "host: allowed.example" in answer
    assert not [word for word in ("via:", "forwarded", "squid", SEAT) if word in answer]


def test_another_name_is_denied_and_logged(seat: Container, log: Callable[..., list[LogEntry]]) -> None:
    begin = time.time() - 1
    assert fetch(seat, "https://denied.example/") == "<urlopen error Tunnel connection failed: 403 Forbidden>"
    answer = fetch(seat, "http://denied.example/page?token=canary")
    assert answer.startswith("403 ")
    assert "denied.example is not on the whitelist" in answer
    assert fetch(seat, "https://allowed.example/").startswith("200 ")
    tunnel, page, allowed = eventually(lambda: len(found := log(since=begin)) >= 3 and found, "the log")[-3:]
    assert (tunnel.status, tunnel.method, tunnel.url) == ("TCP_DENIED/403", "CONNECT", "denied.example:443")
    assert (page.status, page.method, page.url) == ("TCP_DENIED/403", "GET", "http://denied.example/page?")
    assert (allowed.status, allowed.method, allowed.url) == ("TCP_TUNNEL/200", "CONNECT", "allowed.example:443")
    assert {entry.client_ip for entry in (tunnel, page, allowed)} == {SEAT}
    assert abs(float(tunnel.timestamp) - time.time()) < 60
    assert int(allowed.bytes) > 500
    assert allowed.raw_line.endswith(
        f" TCP_TUNNEL/200 {allowed.bytes} CONNECT allowed.example:443 - HIER_DIRECT/{WORLD} -"
    )


def test_secrets_in_addresses_are_not_logged(seat: Container, site: dict[str, Any]) -> None:
    send(seat, r"GET http://user:canary1@allowed.example/?key=canary2 HTTP/1.0\r\nAuthorization: canary3\r\n\r\n")
    log = (Path(site["state_dir"]) / "squid" / "log" / "access.log").read_text()
    assert "canary" not in log


@pytest.mark.parametrize(
    "host", [WORLD, "[::ffff:172.31.250.60]", "2887776828", "0xac.0x1f.0xfa.0x3c", "172.31.64060", "127.0.0.1", "[::1]"]
)
def test_addresses_instead_of_names_are_denied(seat: Container, host: str) -> None:
    assert send(seat, rf"GET http://{host}/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n") == "HTTP/1.1 403 Forbidden"
    assert send(seat, rf"CONNECT {host}:443 HTTP/1.1\r\nHost: allowed.example:443\r\n\r\n") == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize("name", ["inside", "rebound", "metadata", "loopback"])
def test_a_name_that_leads_inside_is_denied(seat: Container, name: str) -> None:
    assert fetch(seat, f"http://{name}.example/").startswith("403 ")
    assert "403 Forbidden" in fetch(seat, f"https://{name}.example/")


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT allowed.example:22",
        "CONNECT allowed.example:80",
        "CONNECT allowed.example:8443",
        "GET http://allowed.example:8080/",
        "GET http://allowed.example:443/",
        "GET https://allowed.example/",
        "GET ftp://allowed.example/",
        f"GET http://{PROXY}:{PORT}/squid-internal-mgr/info",
        "GET http://allowed.example/squid-internal-mgr/info",
        "GET http://configuration.invalid/",
        "GET http://allowed.example.evil.example/",
        "GET http://notallowed.example/",
    ],
)
def test_other_ports_protocols_and_tricks_are_denied(seat: Container, request_line: str) -> None:
    status = send(seat, rf"{request_line} HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n")
    if "allowed.example/squid-internal-mgr" in request_line:
        assert status != "", status  # the world's own page of that name, never Squid's
        return
    assert status == "HTTP/1.1 403 Forbidden"


def test_only_seats_may_use_it(attach: Callable[..., Container], site: dict[str, Any]) -> None:
    stranger = attach(site["networks"]["none"]["name"], STRANGER)
    assert "200 the world" not in fetch(stranger, "http://allowed.example/")
    with closing(http.client.HTTPConnection(PROXY, PORT, timeout=10)) as connection:
        connection.request("GET", "http://allowed.example/")
        assert connection.getresponse().status == 403


def test_the_container_has_no_powers(squid: Container) -> None:
    state = squid.attrs["HostConfig"]
    assert (squid.attrs["Config"]["User"], state["CapDrop"], state["CapAdd"]) == ("13:13", ["ALL"], None)
    assert state["ReadonlyRootfs"]
    assert state["Memory"] == state["MemorySwap"] > 0 and state["PidsLimit"] > 0
    assert state["SecurityOpt"] == ["no-new-privileges"]
    code, _ = squid.exec_run(["sh", "-c", "echo x >>/srv/squid/squid.conf"])
    assert code != 0


def set_whitelist(*domains: str, **variables: str) -> None:
    extra = json.dumps({"whitelist_domains": domains} | {f"whitelist_{key}": value for key, value in variables.items()})
    run = playbook(PROJECT / "playbooks/whitelist_set.yml", "-e", extra)
    assert run.returncode == 0, run.stdout


def test_a_groups_list_holds_for_its_seats(
    site: dict[str, Any], squid: Container, seat: Container, other_seat: Container
) -> None:
    workspaces = Path(site["state_dir"]) / "egress" / "workspaces.json"

    def place(**groups: str | None) -> None:
        addresses = {"seat": SEAT, "other": OTHER_SEAT}
        entries = {addresses[who]: {"id": "0123456789ab", "group": group} for who, group in groups.items()}
        replacement = workspaces.with_name("replacement")
        replacement.write_text(json.dumps(entries))
        replacement.replace(workspaces)

    def reaches(container: Container) -> bool:
        return fetch(container, "https://group.example/").startswith("200 ")

    def reconfigurations() -> int:
        return bytes(squid.logs()).count(b"Reconfiguring Squid Cache")

    before = reconfigurations()
    try:
        place(seat="red team", other=None)
        assert not reaches(seat)
        set_whitelist("group.example", group="red team")
        eventually(lambda: reaches(seat), "the group's list holds")
        assert not reaches(other_seat)
        assert "403" in fetch(seat, "http://denied.example/")

        place(seat="blue team", other="red team")
        eventually(lambda: reaches(other_seat), "the new member may")
        eventually(lambda: not reaches(seat), "the old one may not")

        # The helper dies: nothing is opened by that, and it comes back.
        assert squid.exec_run(["python3", "-c", KILL, "group-whitelist"]).output
        assert not reaches(seat)
        eventually(lambda: reaches(other_seat), "the helper is there again")

        workspaces.write_text("{ no JSON")
        eventually(lambda: not reaches(other_seat), "what can't be read allows nothing")
        place(other="red team")
        eventually(lambda: reaches(other_seat), "it reads on")
        set_whitelist(group="red team", state="exact")
        eventually(lambda: not reaches(other_seat), "the list is gone")
        assert reconfigurations() == before
    finally:
        workspaces.unlink(missing_ok=True)


def test_a_killed_squid_comes_back(squid: Container, seat: Container) -> None:
    assert squid.exec_run(["python3", "-c", KILL, "squid"]).exit_code == 0
    eventually(lambda: fetch(seat, "https://allowed.example/").startswith("200 "), "Squid answers again")


def test_a_new_run_keeps_the_whitelist(seat: Container) -> None:
    set_whitelist("denied.example")
    try:
        assert fetch(seat, "https://denied.example/").startswith("200 ")
        run = playbook(CONVERGE)
        assert run.returncode == 0, run.stdout
        assert fetch(seat, "https://denied.example/").startswith("200 ")
    finally:
        set_whitelist("denied.example", state="absent")
    assert "403" in fetch(seat, "https://denied.example/")


def test_the_log_is_rotated_and_read_on(
    site: dict[str, Any], seat: Container, log: Callable[..., list[LogEntry]]
) -> None:
    folder = Path(site["state_dir"]) / "squid" / "log"
    small = json.dumps({"atelier_squid_log_bytes": 500, "atelier_squid_log_keep": 3})
    run = playbook(CONVERGE, "-e", small)
    assert run.returncode == 0, run.stdout
    try:
        begin = time.time()
        for number in range(12):
            eventually(lambda n=number: fetch(seat, f"http://allowed.example/{n}").startswith("200 "), "an answer")
            if number == 5:
                eventually(lambda: (folder / "access.log.0").exists(), "the first rotation")
        eventually(lambda: (folder / "access.log.1").exists(), "two rotations")
        newest = eventually(
            lambda: (found := log(since=begin, lines=8)) and found[-1].url.endswith("/11") and found, "the log"
        )
        assert [entry.url.rpartition("/")[2] for entry in newest] == [str(number) for number in range(4, 12)]
        assert not (folder / "access.log.3").exists()
    finally:
        run = playbook(CONVERGE)
        assert run.returncode == 0, run.stdout


def test_a_frame_that_squid_refuses_never_goes_live(site: dict[str, Any], seat: Container) -> None:
    live = Path(site["state_dir"]) / "squid" / "squid.conf"
    before = live.read_text()
    run = playbook(CONVERGE, "-e", json.dumps({"atelier_squid_internal_destinations": ["no address"]}))
    assert run.returncode != 0
    assert "SQUID_ERROR" in run.stdout
    assert live.read_text() == before
    assert fetch(seat, "https://allowed.example/").startswith("200 ")
    assert subprocess.run(["grep", "-c", "no address", str(live)], capture_output=True, check=False).returncode == 1
    run = playbook(CONVERGE)
    assert run.returncode == 0, run.stdout
