"""A certificate from a real authority, by a real name server, in a real gateway: issued, renewed, refused."""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from atelier.gateway import dns_providers
from atelier.gateway.certificate import Certificate, parse

from .world import (
    AUTHORITY,
    CANARY,
    DOMAIN,
    GATEWAY,
    INSTANCE,
    NAME_SERVER,
    REFUSED,
    ROOT,
    ZONE,
    World,
    make_certificate,
)

PLAY = ROOT / "tests/acme/gateway.yml"
RENEW = ROOT / "playbooks/certificate_renew.yml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("acme"))
    code, output = made.play(ROOT / "tests/acme/packages.yml")
    assert code == 0, output[-3000:]
    try:
        with made.running():
            code, output = made.play(PLAY)
            assert code == 0, output[-5000:]
            assert CANARY not in output
            yield made
    finally:
        purge = {"platform_down_purge": True, "platform_down_images": False}
        made.play(ROOT / "playbooks/platform_down.yml", changed=purge)


def connect(world: World, name: str = DOMAIN) -> ssl.SSLSocket:
    """Connects like a browser that trusts only the authority."""
    trust = ssl.create_default_context(cadata=world.roots())
    return trust.wrap_socket(socket.create_connection(("127.0.0.1", GATEWAY), timeout=10), server_hostname=name)


def served(world: World, name: str = DOMAIN) -> Certificate:
    with connect(world, name) as connection:
        return parse(ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").encode())


def serial(world: World) -> str:
    with connect(world) as connection:
        return str((connection.getpeercert() or {})["serialNumber"])


def ask(connection: ssl.SSLSocket) -> str:
    connection.sendall(f"GET /.atelier/gateway HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
    return connection.recv(65536).decode()


def attempts(world: World) -> dict[str, Any]:
    return dict(json.loads((world.state / "tls/acme/attempts.json").read_text()))


@contextmanager
def watched_for_secrets() -> Iterator[set[str]]:
    """The command lines and environments of all processes, and the container's, that show the secret meanwhile."""
    seen: set[str] = set()
    looked, stop = set(), threading.Event()

    def look() -> None:
        while not stop.wait(0.2):
            for kind in ("cmdline", "environ"):
                for file in Path("/proc").glob(f"[0-9]*/{kind}"):
                    with suppress(OSError):
                        content = file.read_bytes()
                        if CANARY.encode() in content:
                            seen.add(content.decode(errors="replace"))
                        if b"lego" in content and kind == "environ":
                            looked.add(file)
            inspected = subprocess.run(["docker", "inspect", f"{INSTANCE}-acme"], capture_output=True, text=True)
            if CANARY in inspected.stdout:
                seen.add(inspected.stdout)
            if inspected.returncode == 0:
                looked.add(Path("container"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
    assert Path("container") in looked


def test_the_gateway_serves_the_domain_and_its_subdomains(world: World) -> None:
    assert served(world).names == {DOMAIN, f"*.{DOMAIN}"}
    assert served(world, f"0123456789ab.{DOMAIN}").names == {DOMAIN, f"*.{DOMAIN}"}
    assert attempts(world)["failures"] == 0


def test_a_second_run_changes_nothing(world: World) -> None:
    before = serial(world)
    code, output = world.play(PLAY)
    assert code == 0, output[-3000:]
    assert "changed=0" in output
    assert serial(world) == before


def test_a_renewal_drops_no_open_connection_and_tells_no_secret(world: World) -> None:
    before = serial(world)
    with connect(world) as open_before:
        assert "200 OK" in ask(open_before)
        with watched_for_secrets() as seen:
            code, output = world.play(RENEW, certificate_force=True)
        assert code == 0, output[-3000:]
        assert seen == set()
        assert CANARY not in output
        # The same connection, to the same process.
        assert "200 OK" in ask(open_before)
    assert serial(world) != before
    logs = subprocess.run(["docker", "logs", f"{INSTANCE}-gateway"], capture_output=True, text=True, check=True)
    assert "reload" not in (logs.stdout + logs.stderr).lower()
    left = subprocess.run(["docker", "inspect", f"{INSTANCE}-acme"], capture_output=True, check=False)
    assert left.returncode != 0


# What is asked for, and with which credentials, as the role writes it.
REQUEST, VARIABLES = "tls/acme/request.json", "tls/acme/variables.json"


@pytest.mark.parametrize(
    ("file", "changed", "field", "words"),
    [
        (REQUEST, {"domain": REFUSED}, None, "forbidden by policy"),
        (REQUEST, {"domain": "not-ours.example"}, "atelier_base_domain", "not-ours.example"),
        (REQUEST, {"provider": "nonsense"}, "atelier_tls_acme.provider", "'nonsense'"),
        (REQUEST, {"provider": "cloudflare"}, "atelier_tls_acme.provider", "'cloudflare'"),
        (REQUEST, {"directory": "https://127.0.0.1:9/dir"}, None, "connection refused"),
        (VARIABLES, {"RFC2136_NAMESERVER": ""}, "atelier_tls_acme_variables", "RFC2136_NAMESERVER"),
        (VARIABLES, {"RFC2136_TSIG_SECRET": "d3Jvbmc="}, None, "bad authentication"),
        (VARIABLES, {"RFC2136_NAMESERVER": f"{NAME_SERVER}:54"}, None, "connection refused"),
    ],
)
def test_a_failure_names_its_cause_and_keeps_the_certificate(
    world: World, file: str, changed: dict[str, Any], field: str | None, words: str
) -> None:
    before = serial(world)
    place = world.state / file
    kept = place.read_text()
    # An authority asks for no second proof of a domain within some hours: one that it does not know yet.
    request = json.loads((world.state / REQUEST).read_text())
    fresh = {"domain": f"fresh-{secrets.token_hex(4)}.{ZONE}"} if "domain" not in changed else {}
    (world.state / REQUEST).write_text(json.dumps(request | fresh))
    try:
        place.write_text(json.dumps(json.loads(place.read_text()) | changed))
        code, output = world.play(RENEW, certificate_force=True)
        assert code != 0
        assert words in output, output[-3000:]
        assert CANARY not in output
        if field:
            assert f'"field": "{field}"' in output
        assert attempts(world)["failures"] > 0
        assert serial(world) == before
    finally:
        place.write_text(kept)
        (world.state / REQUEST).write_text(json.dumps(request))
    # With the settings of before there is nothing to be done.
    code, output = world.play(RENEW)
    assert code == 0, output[-3000:]
    assert attempts(world)["failures"] == 0
    assert serial(world) == before


def lego(world: World, *words: str) -> str:
    """Runs the gateway's lego; returns its output."""
    image = json.loads((world.state / REQUEST).read_text())["image"]
    docker = ["docker", "run", "--rm", "--network=host", "--env=LEGO_CA_CERTIFICATES=/ca.pem"]
    command = [*docker, f"--volume={world.bundle}:/ca.pem:ro", image, *words]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def test_the_providers_that_are_refused_are_those_that_lego_does_not_have(world: World) -> None:
    lines = (line.strip() for line in lego(world, "dnshelp").splitlines())
    (codes,) = (line.split(", ") for line in lines if line.startswith("acme-dns, "))
    words = ["--accept-tos", "--path=/tmp", "--email=ops@acme.test", f"--server=https://127.0.0.1:{AUTHORITY}/dir"]
    words.append(f"--domains={DOMAIN}")
    missing = {code for code in codes if "unrecognized DNS" in lego(world, *words, f"--dns={code}", "run")}
    assert missing == dns_providers._NOT_BUILT
    readme = (ROOT / "roles/gateway/README.md").read_text()
    (listed,) = re.findall(r"^allinkl, .*?zonomi\.$", readme, re.MULTILINE | re.DOTALL)
    assert set(re.split(r"[,.]\s*", listed)) - {""} == set(codes) - missing - dns_providers._PROGRAMS


def test_route53_reads_its_credentials_from_the_file(world: World) -> None:
    """Its library calls Amazon only with credentials. No public name server knows this region's."""
    place, request = world.state / VARIABLES, world.state / REQUEST
    kept = place.read_text(), request.read_text()
    try:
        given = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_REGION": "us-iso-east-1"}
        place.write_text(json.dumps(given | {"AWS_HOSTED_ZONE_ID": "Z1"}))
        request.write_text(
            json.dumps(json.loads(kept[1]) | {"provider": "route53", "domain": f"fresh-{secrets.token_hex(4)}.{ZONE}"})
        )
        code, output = world.play(RENEW, certificate_force=True)
    finally:
        place.write_text(kept[0])
        request.write_text(kept[1])
    assert code != 0
    assert "route53.c2s.ic.gov" in output, output[-3000:]
    assert CANARY not in output
    code, output = world.play(RENEW)
    assert code == 0, output[-3000:]


def test_an_expired_certificate_is_replaced(world: World) -> None:
    now = datetime.now(UTC)
    old = make_certificate(
        world.folder, "expired", now - timedelta(days=90), now - timedelta(days=1), DOMAIN, f"*.{DOMAIN}"
    ).read_bytes()
    for place in ("gateway/tls.pem", "tls/acme/issued.pem"):
        (world.state / place).write_bytes(old)
    subprocess.run(["docker", "restart", f"{INSTANCE}-gateway"], check=True, capture_output=True)
    with pytest.raises((ssl.SSLError, OSError)):
        served(world)
    code, output = world.play(RENEW)
    assert code == 0, output[-3000:]
    assert served(world).expires > now


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"atelier_base_domain": "localhost"}, "no authority issues a certificate for it"),
        ({"atelier_tls_acme": {"provider": "rfc2136"}}, "atelier_tls_acme.email is missing"),
        ({"atelier_tls_acme": {"email": "ops@acme.test", "provider": "exec"}}, "Use another, such as httpreq"),
        (
            {"atelier_tls_acme_variables": {"RFC2136_TSIG_SECRET_FILE": "/root/secret"}},
            "RFC2136_TSIG_SECRET_FILE refers to",
        ),
    ],
)
def test_up_refuses_settings_that_cannot_work(world: World, changed: dict[str, Any], words: str) -> None:
    code, output = world.play(PLAY, changed=changed)
    assert code != 0
    assert words in output
    assert serial(world)
