"""The gateway, asked as browsers and as seats ask it, while routes and configuration change."""

from __future__ import annotations

import base64
import hmac
import html
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Network
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest
from conftest import playbook
from docker.models.containers import Container

from tests.waiting import eventually

# A workspace: tells on which port it was asked and with which headers, and echoes what follows an upgrade.
WORKSPACE = r"""
use IO::Socket::INET;
$SIG{CHLD} = 'IGNORE';
my @servers = map { IO::Socket::INET->new(LocalPort => $_, Listen => 20, ReuseAddr => 1) or die } @ARGV;
for my $server (@servers) {
    next if $server != $servers[-1] && fork;
    while (my $client = $server->accept) {
        next if fork;
        my ($head, $upgrade) = ('', 0);
        while (my $line = <$client>) {
            $line =~ s/\r\n//;
            last if $line eq '';
            $head .= "$line\n";
            $upgrade = 1 if $line =~ /^upgrade:/i;
        }
        if ($upgrade) {
            print $client "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            while (sysread $client, my $data, 1024) { syswrite $client, $data }
        } else {
            my $body = "port: " . $server->sockport . "\n$head";
            print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
        }
        exit;
    }
}
"""
IDS = ("0123456789ab", "fedcba987654")
# What signs the passes for the second one's ports; the first one has no password.
KEY = bytes(range(32))
STOPPED = "aaaaaaaaaaaa"


class Gateway:
    def __init__(self, site: dict[str, Any]) -> None:
        self.port: int = site["port"]
        self.folder = Path(site["state_dir"]) / "gateway"
        self.map = self.folder / "routes.map"
        self.ports = self.folder / "ports.map"

    def command(self, text: str) -> str:
        with closing(socket.socket(socket.AF_UNIX)) as admin:
            admin.connect(str(self.folder / "admin.sock"))
            admin.sendall(text.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode().strip()

    def get(
        self,
        host: str,
        path: str = "/",
        method: str = "GET",
        *,
        body: str | None = None,
        source: str = "",
        **headers: str,
    ) -> tuple[int, str]:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(source, 0))
        ) as connection:
            connection.request(method, path, body, headers={"Host": f"{host}:{self.port}", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def gateway(site: dict[str, Any]) -> Gateway:
    return Gateway(site)


@pytest.fixture(scope="module", autouse=True)
def workspaces(site: dict[str, Any], gateway: Gateway, start: Callable[..., Container]) -> Iterator[list[Container]]:
    """Two workspaces and a stopped one. Their routes are sent to the running gateway, as the core does it."""
    first = IPv4Network(site["networks"]["none"]["subnet"]).network_address
    routes = dict(zip((*IDS, STOPPED), (str(first + offset) for offset in (20, 21, 22)), strict=True))
    started = [start("perl", "-e", WORKSPACE, "8082", "3000", "4000", address=routes[workspace]) for workspace in IDS]
    for workspace, address in routes.items():
        assert gateway.command(f"add map {gateway.map} {workspace} {address}") == ""
    gateway.map.write_text("".join(f"{workspace} {address}\n" for workspace, address in routes.items()))
    doors = {IDS[0]: "open", IDS[1]: base64.b64encode(KEY).decode(), f"{IDS[1]}-4000": "shared"}
    for name, value in doors.items():
        assert gateway.command(f"add map {gateway.ports} {name} {value}") == ""
    gateway.ports.write_text("".join(f"{name} {value}\n" for name, value in doors.items()))
    for host in (f"{IDS[0]}.localhost", f"{IDS[0]}-3000.localhost", f"{IDS[1]}.localhost", f"{IDS[1]}-4000.localhost"):
        eventually(lambda host=host: gateway.get(host)[0] == 200, f"{host} answers")
    yield started
    for table in (gateway.map, gateway.ports):
        gateway.command(f"clear map {table}")
        table.write_text("")


@pytest.mark.parametrize("host", ["0123456789ab.localhost", "0123456789AB.LocalHost", "0123456789ab.localhost."])
def test_a_name_leads_to_the_ide(gateway: Gateway, host: str) -> None:
    status, body = gateway.get(host)
    assert status == 200
    assert body.startswith("port: 8082\n")


def test_a_name_with_a_port_leads_there(gateway: Gateway) -> None:
    assert gateway.get(f"{IDS[0]}-3000.localhost")[1].startswith("port: 3000\n")


@pytest.mark.parametrize(
    "host",
    [
        "bbbbbbbbbbbb.localhost",
        f"{IDS[0]}-8082.localhost",
        f"{IDS[0]}-0.localhost",
        f"{IDS[0]}-65536.localhost",
        f"{IDS[0]}-03000.localhost",
        f"{IDS[0]}-3000-1.localhost",
        f"{IDS[0]}x.localhost",
        f"{IDS[0]}.localhost.example",
        f"x.{IDS[0]}.localhost",
        "demo.localhost",
        "example.org",
        "169.254.169.254",
        "",
    ],
)
def test_other_names_lead_nowhere(gateway: Gateway, host: str) -> None:
    status, body = gateway.get(host)
    assert status == 404
    assert "No such workspace" in body


class Api(threading.Thread):
    """Answers, on the API's socket, whether a name and a password are right: what the gateway asks it."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self._path = gateway.folder / "api.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen()
        self.asked: list[str] = []

    def run(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self.asked.append(connection.recv(65536).decode())
                    status, headers = self.answer(self.asked[-1])
                    connection.sendall(f"HTTP/1.1 {status} Told\r\n{headers}Content-Length: 0\r\n\r\n".encode())

    def answer(self, request: str) -> tuple[int, str]:
        known = {"cmlnaHQ=": 204, "OnJpZ2h0": 204, "b2Z0ZW4=": 429}
        return known.get(request.partition("Basic ")[2][:8], 401), ""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink()


def test_an_alias_leads_to_its_port_and_asks_if_it_shall(gateway: Gateway) -> None:
    table = gateway.folder / "aliases.map"
    assert gateway.command(f"add map {table} demo {IDS[0]}-3000") == ""
    assert gateway.command(f"add map {table} safe {IDS[1]}-3000-auth") == ""
    try:
        assert gateway.get("Demo.localhost.")[1].startswith("port: 3000\n")
        # Nobody is let in whom nobody has judged.
        assert gateway.get("safe.localhost")[0] == 401
        assert gateway.get("safe.localhost", Authorization="Basic cmlnaHQ=")[0] == 503
        api = Api(gateway)
        api.start()
        try:
            status, body = gateway.get("safe.localhost", Authorization="Basic cmlnaHQ=")
            assert (status, body.startswith("port: 3000\n")) == (200, True)
            assert "authorization" not in body.lower()
            assert "GET /api/aliases/safe/admission " in api.asked[0]
            assert "x-alias-caller: 127.0.0.1" in api.asked[0]
            assert "x-forwarded-for" not in api.asked[0].lower()
            assert gateway.get("safe.localhost", Authorization="Basic d3Jvbmc=")[0] == 401
            assert gateway.get("safe.localhost", Authorization="Basic b2Z0ZW4=")[0] == 429
            assert gateway.get("demo.localhost", Authorization="Basic d3Jvbmc=")[0] == 200
        finally:
            api.close()
    finally:
        gateway.command(f"clear map {table}")


def test_a_stopped_workspace_says_so_and_tries_again(gateway: Gateway) -> None:
    status, body = gateway.get(f"{STOPPED}.localhost")
    assert status == 503
    assert "stopped or still starting" in body
    assert 'http-equiv="refresh"' in body


class Visits(Api):
    """Answers what a visit to a workspace that sleeps meets."""

    status = 202

    def answer(self, request: str) -> tuple[int, str]:
        return self.status, "X-Wake-Percent: 40\r\nX-Wake-Seconds: 7\r\n" if self.status == 202 else ""


BROWSER = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PLAIN_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def visits(gateway: Gateway) -> Iterator[Visits]:
    """The first workspace and the stopped one are in the map of those that sleep; the first one runs by now."""
    table = gateway.folder / "asleep.map"
    for id in (IDS[0], STOPPED):
        assert gateway.command(f"add map {table} {id} asleep") == ""
    api = Visits(gateway)
    api.start()
    yield api
    api.close()
    gateway.command(f"clear map {table}")


def test_a_visit_asks_the_api_to_start_what_sleeps(gateway: Gateway, visits: Visits) -> None:
    status, body = gateway.get(f"{STOPPED}.localhost", "/?folder=x", **BROWSER, **{"Accept-Language": "de"})
    assert (status, visits.asked[0].splitlines()[0]) == (503, f"POST /api/visits/{STOPPED} HTTP/1.1")
    assert "x-alias-caller: 127.0.0.1" in visits.asked[0].lower()
    for said in (
        "Dieser Workspace startet",
        'content="1"',
        'aria-valuenow="40"',
        "from { width: 40% }",
        "Noch etwa: 7 s",
    ):
        assert said in html.unescape(body)
    # Over plain HTTP browsers do not tell that it is a page; a port's page starts the workspace, too.
    assert "This workspace is starting" in gateway.get(f"{STOPPED}.localhost", **PLAIN_BROWSER)[1]
    visits.status = 429
    status, body = gateway.get(f"{STOPPED}.localhost", **BROWSER)
    assert (status, "Too many starts" in body) == (429, True)
    visits.status = 503
    status, body = gateway.get(f"{STOPPED}.localhost", **BROWSER)
    assert (status, "could not be started" in body) == (503, True)
    # The map may be a moment behind: what runs is opened.
    visits.status = 204
    assert gateway.get(f"{IDS[0]}-3000.localhost", **BROWSER)[1].startswith("port: 3000\n")
    assert len(visits.asked) == 5


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("POST", BROWSER),
        ("HEAD", BROWSER),
        ("GET", {**PLAIN_BROWSER, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("GET", {**PLAIN_BROWSER, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        ("GET", {**BROWSER, "Sec-Purpose": "prefetch;prerender"}),
        ("GET", {**PLAIN_BROWSER, "Purpose": "prefetch"}),
        ("GET", {**PLAIN_BROWSER, "X-Moz": "prefetch"}),
        ("GET", {**PLAIN_BROWSER, "User-Agent": "Mozilla/5.0 (compatible; Examplebot/2.1)"}),
        ("GET", {"User-Agent": "curl/8.14", "Accept": "text/html"}),
        ("GET", {**PLAIN_BROWSER, "Accept": "*/*"}),
        ("GET", {**BROWSER, "Connection": "Upgrade", "Upgrade": "websocket"}),
    ],
)
def test_only_pages_that_a_person_opens_start_what_sleeps(
    gateway: Gateway, visits: Visits, method: str, headers: dict[str, str]
) -> None:
    # A connection that is upgraded has no end by itself.
    with suppress(TimeoutError, http.client.HTTPException):
        gateway.get(f"{IDS[0]}.localhost", method=method, body="" if method == "POST" else None, **headers)
    assert visits.asked == []


def test_a_seat_starts_no_other(
    gateway: Gateway, visits: Visits, workspaces: list[Container], site: dict[str, Any]
) -> None:
    shared = f"{STOPPED}-3000"
    assert gateway.command(f"add map {gateway.ports} {shared} shared") == ""
    try:
        # Only the status line is read.
        host = f"{shared}.localhost\\r\\nSec-Fetch-Mode: navigate\\r\\nSec-Fetch-Dest: document"
        assert status_from(workspaces[0], site, host, "/").startswith("HTTP/1.1 503")
    finally:
        assert gateway.command(f"del map {gateway.ports} {shared}") == ""
    assert visits.asked == []


def test_a_port_that_wants_a_password_wants_it_before_the_start(gateway: Gateway, visits: Visits) -> None:
    table = gateway.folder / "asleep.map"
    assert gateway.command(f"add map {table} {IDS[1]} asleep") == ""
    assert gateway.get(f"{IDS[1]}-3000.localhost", **BROWSER)[0] == 401
    assert visits.asked == []


def test_without_the_api_what_sleeps_says_so(gateway: Gateway) -> None:
    table = gateway.folder / "asleep.map"
    assert gateway.command(f"add map {table} {STOPPED} asleep") == ""
    try:
        status, body = gateway.get(f"{STOPPED}.localhost", **BROWSER)
        assert (status, "could not be started" in body) == (503, True)
    finally:
        gateway.command(f"clear map {table}")


def test_a_port_where_nothing_listens_says_so(gateway: Gateway) -> None:
    status, body = gateway.get(f"{IDS[0]}-4001.localhost")
    assert status == 503
    assert "Nothing answers on this port" in body
    # Each load is a visit, which starts a workspace that sleeps.
    assert "http-equiv" not in body


WORDS = {
    file.stem: json.loads(file.read_text()) for file in (Path(__file__).parents[2] / "api/web/locales").glob("*.json")
}


@pytest.mark.parametrize("language", WORDS)
def test_the_gateways_pages_are_in_the_readers_language(gateway: Gateway, language: str) -> None:
    for key, status, host in (
        ("no_workspace.title", 404, "bbbbbbbbbbbb.localhost"),
        ("no_workspace.text", 404, "bbbbbbbbbbbb.localhost"),
        ("stopped.title", 503, f"{STOPPED}.localhost"),
        ("stopped.text", 503, f"{STOPPED}.localhost"),
        ("silent_port.text", 503, f"{IDS[0]}-4001.localhost"),
        ("starting.text", 503, "localhost"),
        ("sign_in.title", 401, f"{IDS[1]}-3000.localhost"),
        ("sign_in.open", 401, f"{IDS[1]}-3000.localhost"),
    ):
        found, body = gateway.get(host, **{"Accept-Language": f"{language};q=0.9, is;q=0.8"})
        assert (found, f">{WORDS[language][f'gateway.{key}']}<" in html.unescape(body)) == (status, True), body
        assert f'<html lang="{language}">' in body
    for query, key in (("wrong", "sign_in.wrong"), ("later", "sign_in.later")):
        path = f"/.atelier/sign-in?{query}=1"
        _, body = gateway.get(f"{IDS[1]}-3000.localhost", path, **{"Accept-Language": language})
        assert f"<p>{WORDS[language][f'gateway.{key}']}</p>" in html.unescape(body)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr-CA, en;q=0.5", "fr"),
        ("FR", "fr"),
        ("is, fr;q=0.2, de;q=0.1", "fr"),
        ("de;q=0.1, en-GB;q=0.2", "en"),
        ("is", "en"),
        ("*", "en"),
        ("", "en"),
        (",;=q,,;q=fr,", "en"),
        ("\xff\xfe%[src]'\"<script>", "en"),
        ("-" * 6000 + ",de", "de"),
        (", ".join(f"x{number}" for number in range(900)), "en"),
    ],
)
def test_the_readers_language(gateway: Gateway, accepted: str, language: str) -> None:
    status, body = gateway.get("bbbbbbbbbbbb.localhost", **{"Accept-Language": accepted})
    assert (status, body.startswith(f'<!doctype html><html lang="{language}">')) == (404, True)
    assert "<h1>{}</h1>".format(WORDS[language]["gateway.no_workspace.title"]) in html.unescape(body)


def test_what_callers_claim_about_themselves_is_replaced(gateway: Gateway) -> None:
    claims = {
        "X-Forwarded-For": "9.9.9.9",
        "X_Forwarded_For": "9.9.9.9",
        "X-Real-IP": "9.9.9.9",
        "Forwarded": "for=9.9.9.9",
    }
    claims |= {"X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    body = gateway.get(f"{IDS[0]}.localhost", **claims)[1].lower()
    assert not [word for word in ("9.9.9.9", "gopher", "evil") if word in body]
    assert "x-forwarded-for: 127.0.0.1\n" in body
    assert "x-forwarded-proto: http\n" in body
    assert f"x-forwarded-host: {IDS[0]}.localhost:{gateway.port}\n" in body


def test_the_platforms_own_host(gateway: Gateway) -> None:
    status, body = gateway.get("localhost", "/api/projects")
    assert (status, json.loads(body)["code"]) == (503, "SERVICE_UNAVAILABLE")
    api = Api(gateway)
    api.start()
    try:
        # A proxy on this machine that nobody told the gateway of calls for others: what it forwards is not from here.
        for header in ({}, {"Via": "1.1 x"}, {"X-Forwarded-For": "9.9.9.9"}, {"Forwarded": "for=9.9.9.9"}):
            gateway.get("localhost", "/api/projects", **header)
            assert f"x-forwarded-for: {'unknown' if header else '127.0.0.1'}\r" in api.asked[-1]
    finally:
        api.close()
    for page in ("/", "/workshop"):
        status, body = gateway.get("localhost", page)
        assert status == 503
        assert "Atelier is starting" in body


def test_ipv6(gateway: Gateway) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this host has no IPv6")
    with closing(http.client.HTTPConnection("::1", gateway.port, timeout=10)) as connection:
        connection.request("GET", "/", headers={"Host": f"{IDS[0]}.localhost"})
        assert connection.getresponse().status == 200


def status_from(
    seat: Container, site: dict[str, Any], host: str, path: str = "/.atelier/gateway", port: int | None = None
) -> str:
    """The status line that a seat gets from the gateway at the bridge's address."""
    address = next(IPv4Network(site["networks"]["none"]["subnet"]).hosts())
    ask = (
        f"exec 3<>/dev/tcp/{address}/{port or site['port']}; printf 'GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\n"
        "Connection: close\\r\\n\\r\\n' >&3; head -n 1 <&3"
    )
    output: bytes = seat.exec_run(["timeout", "30", "bash", "-c", ask]).output
    return output.decode().strip()


def test_a_seat_reaches_itself_and_what_is_shared(workspaces: list[Container], site: dict[str, Any]) -> None:
    for name in (IDS[0], f"{IDS[0]}-3000", f"{IDS[1]}-4000"):
        assert status_from(workspaces[0], site, f"{name}.localhost") == "HTTP/1.1 200 OK", name
    # One answer to everything else: it does not tell which names exist.
    others = (IDS[1], f"{IDS[1]}-3000", f"{IDS[1].upper()}-3000", STOPPED, f"{STOPPED}-3000", "bbbbbbbbbbbb", "demo")
    for name in (*others, f"{IDS[1]}-8082", f"{IDS[1]}-99999"):
        assert status_from(workspaces[0], site, f"{name}.localhost") == "HTTP/1.1 403 Forbidden", name
    for host in ("localhost", "127.0.0.1", "example.org", f"{IDS[1]}.localhost.", f"{IDS[1]}.localhost:1"):
        assert status_from(workspaces[0], site, host) == "HTTP/1.1 403 Forbidden", host


def port_pass(label: str, *, end: float = 60, key: bytes = KEY) -> dict[str, str]:
    until = int(time.time() + end)
    return {"Cookie": f"a=1; atelier-port={until}.{hmac.digest(key, f'{label}.{until}'.encode(), 'sha256').hex()}; b=2"}


def test_a_port_wants_the_workspaces_password(gateway: Gateway) -> None:
    label = f"{IDS[1]}-3000"
    status, body = gateway.get(f"{label}.localhost")
    assert status == 401
    assert 'action="/.atelier/sign-in"' in body
    status, body = gateway.get(f"{label}.localhost", **port_pass(label))
    assert status == 200
    assert "cookie: a=1; b=2\n" in body
    for wrong in (
        port_pass(f"{IDS[1]}-4000"),
        port_pass(label, end=-5),
        port_pass(label, key=bytes(32)),
        {"Cookie": "x"},
    ):
        assert gateway.get(f"{label}.localhost", **wrong)[0] == 401
    assert gateway.get(f"{label}.localhost", Authorization="Basic cmlnaHQ=")[0] == 503
    api = Api(gateway)
    api.start()
    try:
        status, body = gateway.get(f"{label}.localhost", Authorization="Basic cmlnaHQ=")
        assert (status, "authorization" in body.lower()) == (200, False)
        assert f"GET /api/ports/{IDS[1]}/admission " in api.asked[0]
        assert gateway.get(f"{label}.localhost", Authorization="Basic d3Jvbmc=")[0] == 401
        assert gateway.get(f"{label}.localhost", Authorization="Basic b2Z0ZW4=")[0] == 429
        # The form goes to the API, without what the browser has for the program.
        gateway.get(
            f"{label}.localhost", "/.atelier/sign-in", "POST", Cookie="key=canary", Origin="http://evil.example"
        )
        assert f"POST /api/ports/{label}/sign-in " in api.asked[-1]
        assert "host: localhost" in api.asked[-1] and "canary" not in api.asked[-1] and "evil" not in api.asked[-1]
    finally:
        api.close()
    # An alias with a password closes the port's own name, also where the workspace has none.
    assert gateway.command(f"add map {gateway.ports} {IDS[0]}-3000 guarded") == ""
    try:
        assert gateway.get(f"{IDS[0]}-3000.localhost")[0] == 403
    finally:
        assert gateway.command(f"del map {gateway.ports} {IDS[0]}-3000") == ""
    assert gateway.get(f"{IDS[0]}-3000.localhost")[0] == 200


def test_code_server_sees_right_passwords_only(gateway: Gateway) -> None:
    def reaches_the_ide(password: str, path: str = "/login", id: str = IDS[1]) -> bool:
        sent = {"Content-Type": "application/x-www-form-urlencoded", "body": f"base=.&password={password}"}
        status, body = gateway.get(f"{id}.localhost", path, "POST", **sent)
        assert status == 200
        assert ("port: 8082" in body) is not ("Incorrect password" in body)
        return "port: 8082" in body

    # Without the API nobody judges: code-server does.
    assert reaches_the_ide("anything")
    api = Api(gateway)
    api.start()
    try:
        # What stands for ":right" is base64 of it: the stand-in knows the beginning.
        assert reaches_the_ide("%72ight")
        assert base64.b64encode(b":right").decode() in api.asked[-1]
        for path in ("/login", "/LOGIN/", "/login?to=x"):
            assert not reaches_the_ide("wrong", path)
        assert not reaches_the_ide("")
        assert reaches_the_ide("wrong", id=IDS[0])
    finally:
        api.close()


def test_one_seats_connections_are_limited(gateway: Gateway, workspaces: list[Container], site: dict[str, Any]) -> None:
    address = next(IPv4Network(site["networks"]["none"]["subnet"]).hosts())
    flood = (
        # The last one may be reset before this writes to it.
        "trap '' PIPE; "
        f"for i in $(seq 400); do exec {{fd}}<>/dev/tcp/{address}/{site['port']} || break; done 2>/dev/null; "
        "printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' 2>/dev/null >&$fd; "
        "head -c 8 <&$fd 2>/dev/null | wc -c; sleep 5"
    )
    _, output = workspaces[0].exec_run(["timeout", "30", "bash", "-c", flood], stream=True)
    assert next(output).strip() == b"0"  # the last one was closed at once
    assert gateway.get(f"{IDS[0]}.localhost")[0] == 200
    assert status_from(workspaces[1], site, f"{IDS[1]}.localhost") == "HTTP/1.1 200 OK"

    def is_open_again() -> bool:
        return status_from(workspaces[0], site, f"{IDS[0]}.localhost") == "HTTP/1.1 200 OK"

    eventually(is_open_again, "the seat gets connections when it has closed those that it held")


@pytest.fixture
def git_server(gateway: Gateway) -> Iterator[None]:
    """Something on the git server's socket that tells what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.path}\n{self.headers}".lower().encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        def log_message(self, *words: Any) -> None:
            """Not in the tests' output."""

    folder = gateway.folder / "git"
    folder.mkdir()
    folder.chmod(0o711)
    with UnixStreamServer(str(folder / "http.sock"), Handler) as server:
        (folder / "http.sock").chmod(0o666)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
    (folder / "http.sock").unlink()
    folder.rmdir()


def test_git_for_people_and_for_seats(
    gateway: Gateway, git_server: None, workspaces: list[Container], site: dict[str, Any]
) -> None:
    status, body = gateway.get("localhost", "/git/developer/app?x=1", **{"X-Forwarded-For": "10.9.9.9"})
    assert (status, body.split("\n")[0]) == (200, "/developer/app?x=1")
    assert "x-forwarded-for: 127.0.0.1\n" in body and "10.9.9.9" not in body
    assert gateway.get("localhost", "/gitea")[0] == 503
    assert gateway.get(f"{IDS[0]}.localhost", "/git/developer/app")[1].startswith("port: 8082\n")

    seat, port = workspaces[0], site["git"]["seat_port"]
    info = "/git/developer/app.git/info/refs?service=git-upload-pack"
    assert status_from(seat, site, "git.internal", info, port) == "HTTP/1.1 200 OK"
    for path in ("/", "/git/api/v1/version", "/git/developer/app", "/api/health", "/git/a/b/c/info/refs"):
        assert status_from(seat, site, "git.internal", path, port) == "HTTP/1.1 404 Not Found", path
    # By the platform's own address seats get no git, and who is no seat gets none by theirs.
    assert status_from(seat, site, "localhost", info) == "HTTP/1.1 403 Forbidden"
    bridge = str(next(IPv4Network(site["networks"]["none"]["subnet"]).hosts()))
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=10).connect()
    with closing(http.client.HTTPConnection(bridge, port, timeout=10, source_address=("127.0.0.1", 0))) as stranger:
        stranger.request("GET", info)
        assert stranger.getresponse().status == 403


def test_without_a_git_server_git_says_so(gateway: Gateway) -> None:
    status, body = gateway.get("localhost", "/git/developer/app.git/info/refs?service=git-upload-pack")
    assert status == 503
    assert "git server is starting" in body


def log(site: dict[str, Any]) -> str:
    command = ["docker", "--host", site["engine_url"], "logs", f"{site['instance']}-gateway"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=True
    )
    return done.stdout


def test_the_log_has_no_query_and_no_credentials(gateway: Gateway, site: dict[str, Any]) -> None:
    gateway.get(f"{IDS[0]}.localhost", "/seen?token=canary1", Authorization="Bearer canary2", Cookie="key=canary3")
    # HAProxy writes it when the request is over, and Docker passes it on after that.
    eventually(lambda: f"{IDS[0]}.localhost GET /seen 200" in log(site), "the request's line")
    assert "canary" not in log(site)


def test_no_control_character_of_a_caller_is_logged(gateway: Gateway, site: dict[str, Any]) -> None:
    """HAProxy itself refuses such names and methods, and writes paths encoded."""
    controls = [bytes([code]) for code in (*range(1, 10), 11, 12, *range(14, 32), *range(127, 160))]
    for control in (*controls, b"\xc2\x9b"):
        for head in (
            b"GET /odd HTTP/1.1\r\nHost: x%sy",
            b"GET /odd%s HTTP/1.1\r\nHost: x",
            b"G%sT /odd HTTP/1.1\r\nHost: x",
        ):
            with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=10)) as caller:
                caller.sendall(head % control + b".localhost\r\nConnection: close\r\n\r\n")
                assert caller.recv(4096).startswith(b"HTTP/1.1 4")
    gateway.get(f"{IDS[0]}.localhost", "/after")
    eventually(lambda: f"{IDS[0]}.localhost GET /after 200" in log(site), "the last request's line")
    assert not [code for code in map(ord, log(site)) if (code < 32 and code != 10) or 127 <= code < 160]


def running_id(site: dict[str, Any]) -> str:
    done = subprocess.run(
        ["docker", "--host", site["engine_url"], "inspect", "--format", "{{.Id}}", f"{site['instance']}-gateway"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def open_ide(gateway: Gateway) -> socket.socket:
    ide = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    ide.sendall(
        f"GET / HTTP/1.1\r\nHost: {IDS[0]}.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        # The key of RFC 6455's example, and the workspace's answer is the example's, too.
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert ide.recv(4096).startswith(b"HTTP/1.1 101")
    return ide


def is_open(ide: socket.socket) -> bool:
    ide.sendall(b"still there?")
    return ide.recv(4096) == b"still there?"


def test_an_open_connection_outlives_a_new_configuration(gateway: Gateway, site: dict[str, Any]) -> None:
    """Another port, where the gateway that runs does not answer yet, and back."""
    before = running_id(site)
    # Not one that the kernel may give to a connection before the gateway has it.
    other = gateway.port + 5
    with closing(open_ide(gateway)) as ide:
        for port in (other, gateway.port):
            run = playbook(
                Path(__file__).with_name("converge.yml"), "-e", f"atelier_base_port={port}", "--skip-tags", "network"
            )
            assert run.returncode == 0, run.stdout
            assert "Reload the configuration" in run.stdout
            assert is_open(ide)
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        # And the routes, which the new worker read from the file.
        assert gateway.get(f"{IDS[1]}.localhost")[0] == 200
    assert running_id(site) == before


def test_an_open_connection_outlives_a_new_container(gateway: Gateway, site: dict[str, Any]) -> None:
    """The old container serves it until it ends, and goes with the next run; new connections are the new one's."""
    before = running_id(site)
    leaving = f"{site['instance']}-gateway-leaving-{before[:12]}"
    with closing(open_ide(gateway)) as ide:
        configured(atelier_service_image_texts=["another image"])
        assert running_id(site) != before
        assert is_open(ide)
        assert gateway.get(f"{IDS[1]}.localhost")[0] == 200
        assert leaving in containers(site, "running")
    eventually(lambda: leaving in containers(site, "exited"), "the old container ends with its last connection")
    # Back to what the other tests have.
    configured()
    assert leaving not in containers(site, "running") + containers(site, "exited")
    assert gateway.get(f"{IDS[1]}.localhost")[0] == 200


def containers(site: dict[str, Any], status: str) -> list[str]:
    found = ["ps", "--all", "--filter", f"status={status}", "--format", "{{.Names}}"]
    done = subprocess.run(["docker", "--host", site["engine_url"], *found], capture_output=True, text=True, check=True)
    return done.stdout.split()


def configured(**variables: Any) -> None:
    """Runs the role with these variables, against the gateway that runs."""
    run = playbook(Path(__file__).with_name("converge.yml"), "-e", json.dumps(variables), "--skip-tags", "network")
    assert run.returncode == 0, run.stdout


def test_forgejos_pages_do_not_share_the_origin_of_the_operators(
    gateway: Gateway, git_server: None, workspaces: list[Container], site: dict[str, Any]
) -> None:
    """They have a separate host: a script in one of them is not the operator."""

    def location(host: str, path: str) -> tuple[int, str | None]:
        with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)) as connection:
            connection.request("GET", path, headers={"Host": f"{host}:{gateway.port}"})
            answer = connection.getresponse()
            return answer.status, answer.headers["Location"]

    own = f"http://git.localhost:{gateway.port}/git"
    configured(atelier_git_service="forgejo")
    try:
        for host in ("localhost", "127.0.0.1"):
            assert location(host, "/git/developer/app?x=1") == (308, f"{own}/developer/app?x=1")
        assert gateway.get("git.localhost", "/git/developer/app")[1].startswith("/developer/app\n")
        for path in ("/", "/api/projects", "/workshop"):
            assert location("git.localhost", path) == (308, f"{own}/")
        assert status_from(workspaces[0], site, "git.localhost", "/git/") == "HTTP/1.1 403 Forbidden"
    finally:
        configured(atelier_git_service="embedded")
    assert gateway.get("localhost", "/git/developer/app")[0] == 200


def test_trusted_proxies_alone_are_believed(gateway: Gateway, site: dict[str, Any]) -> None:
    """X-Forwarded-For and the PROXY protocol: what trusted proxies forward has its sender's address, also a seat's."""
    seat = str(next(IPv4Network(site["networks"]["none"]["subnet"]).hosts()) + 19)
    proxy, stranger = "127.0.0.7", "127.0.0.8"

    def ask(name: str, source: str, line: str, header: str = "") -> str:
        with closing(socket.create_connection(("127.0.0.1", gateway.port), 10, (source, 0))) as connection:
            head = f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n{header}Connection: close\r\n\r\n"
            connection.sendall(f"{line}{head}".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    configured(atelier_trusted_proxies=[proxy, "127.0.0.9/32"])
    try:
        for sent in ("9.9.9.9", "6.6.6.6, 9.9.9.9", "6.6.6.6, 9.9.9.9, 127.0.0.9"):
            assert "x-forwarded-for: 9.9.9.9\n" in ask(IDS[0], proxy, "", f"X-Forwarded-For: {sent}\r\n")
        assert ask(IDS[0], proxy, "", "X-Forwarded-For: junk\r\n").startswith("HTTP/1.1 400")
        assert f"x-forwarded-for: {stranger}\n" in ask(IDS[0], stranger, "", "X-Forwarded-For: 9.9.9.9\r\n")
        assert ask(IDS[0], proxy, "", f"X-Forwarded-For: {seat}\r\n").startswith("HTTP/1.1 200")
        for sent in (seat, f"::ffff:{seat}"):
            assert ask(IDS[1], proxy, "", f"X-Forwarded-For: {sent}\r\n").startswith("HTTP/1.1 403")
            assert ask("x", proxy, "", f"X-Forwarded-For: {sent}\r\n").startswith("HTTP/1.1 403")
        # Also where the proxy calls from loopback, as this machine's own programs do.
        configured(atelier_trusted_proxies=["127.0.0.0/8"], atelier_trusted_proxy_protocol="proxy")
        assert "x-forwarded-for: 9.9.9.9\n" in ask(IDS[0], proxy, "PROXY TCP4 9.9.9.9 127.0.0.1 1 2\r\n")
        assert ask(IDS[1], proxy, f"PROXY TCP4 {seat} 127.0.0.1 1 2\r\n").startswith("HTTP/1.1 403")
        run = playbook(
            Path(__file__).with_name("converge.yml"),
            *("-e", json.dumps({"atelier_trusted_proxies": [f"{seat}/32"]}), "--skip-tags", "network"),
        )
        assert run.returncode != 0
        assert "atelier_trusted_proxies" in run.stdout
    finally:
        configured(atelier_trusted_proxies=[])
    assert gateway.get(f"{IDS[0]}.localhost")[0] == 200


def test_a_configuration_that_haproxy_refuses_never_goes_live(gateway: Gateway) -> None:
    before = (gateway.folder / "haproxy.cfg").read_text()
    run = playbook(
        Path(__file__).with_name("converge.yml"), "-e", "atelier_gateway_hard_stop_after=soon", "--skip-tags", "network"
    )
    assert run.returncode != 0
    assert "hard-stop-after" in run.stdout
    assert (gateway.folder / "haproxy.cfg").read_text() == before
    assert gateway.get(f"{IDS[0]}.localhost")[0] == 200


def test_a_taken_port_is_refused_and_its_holder_named(gateway: Gateway) -> None:
    # Seats reach git on their bridges' addresses: only who listens there, or everywhere, is in the way.
    for field, address in (("atelier_base_port", "127.0.0.1"), ("atelier_git_port", "")):
        with closing(socket.create_server((address, 0))) as taken:
            port = taken.getsockname()[1]
            run = playbook(Path(__file__).with_name("converge.yml"), "-e", f"{field}={port}", "--skip-tags", "network")
        assert run.returncode != 0
        assert "PORT_IN_USE" in run.stdout
        assert f"Port {port} ({field}) is taken by" in run.stdout
    assert gateway.get(f"{IDS[0]}.localhost")[0] == 200
