"""An authority (Pebble), a name server that takes dynamic updates (Knot DNS), and a gateway's settings for both."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
INSTANCE = "atelier-acme"
GATEWAY, AUTHORITY, MANAGEMENT = 18521, 18522, 18523
# Of this machine, and of nobody else: a name server is asked on port 53.
NAME_SERVER = "127.153.0.1"
ZONE, DOMAIN, REFUSED = "acme.test", "workshop.acme.test", "refused.acme.test"
# The secret of the zone's key, which must not be seen anywhere.
CANARY = base64.b64encode(b"canary-of-the-zone-canary-of-the").decode()
_ZONE = f"""\
$ORIGIN {ZONE}.
$TTL 1
@ SOA ns.{ZONE}. ops.{ZONE}. 1 60 60 3600 1
@ NS ns.{ZONE}.
ns A {NAME_SERVER}
* A 127.0.0.1
"""
_KNOT = """\
server:
    rundir: {folder}
    listen: {address}@53
database:
    storage: {folder}
key:
  - id: atelier
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: update
    key: atelier
    action: update
zone:
  - domain: {zone}
    storage: {folder}
    file: zone.txt
    acl: update
    # What is updated stays in the journal.
    zonefile-sync: -1
"""


def make_certificate(
    folder: Path, name: str, begins: datetime, ends: datetime, *names: str, issuer: Path | None = None
) -> Path:
    """A certificate with its key, as one PEM file; self-signed without an issuer's."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, signing = subject, key
    if issuer is not None:
        by = x509.load_pem_x509_certificate(issuer.read_bytes()).subject
        signed_with = serialization.load_pem_private_key(issuer.read_bytes(), None)
        assert isinstance(signed_with, ec.EllipticCurvePrivateKey)
        signing = signed_with
    alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
    alternatives.append(x509.IPAddress(ip_address("127.0.0.1")))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(encoding) + key.private_bytes(encoding, private, serialization.NoEncryption()))
    return file


class World:
    """The authority and the name server, while they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        now = datetime.now(UTC)
        # Of the authority's own HTTPS.
        self.bundle = make_certificate(folder, "authority", now - timedelta(days=1), now + timedelta(days=2))
        self.variables: dict[str, Any] = {
            "atelier_base_domain": DOMAIN,
            "atelier_base_port": GATEWAY,
            "atelier_redirect_port": 0,
            "atelier_enable_proxy": False,
            "atelier_enable_git_server": False,
            "atelier_network_open_bridge": "atl-acme",
            "atelier_network_open_subnet": "172.20.226.0/24",
            "atelier_tls_acme": {
                "email": f"ops@{ZONE}",
                "provider": "rfc2136",
                "directory": f"https://127.0.0.1:{AUTHORITY}/dir",
                "ca_bundle": str(self.bundle),
                # Its name is known to the zone only.
                "check_propagation": False,
                "resolvers": [f"{NAME_SERVER}:53"],
            },
            "atelier_tls_acme_variables": {
                "RFC2136_NAMESERVER": f"{NAME_SERVER}:53",
                "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
                "RFC2136_TSIG_KEY": "atelier",
                "RFC2136_TSIG_SECRET": CANARY,
                "RFC2136_POLLING_INTERVAL": "1",
                "RFC2136_PROPAGATION_TIMEOUT": "20",
                # The zone is asked once for the domain, once for its subdomains.
                "RFC2136_SEQUENCE_INTERVAL": "1",
            },
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._name_server(), self._authority():
            yield

    @contextmanager
    def _name_server(self) -> Iterator[None]:
        place = self.folder / "knot"
        place.mkdir()
        (place / "zone.txt").write_text(_ZONE)
        configuration = place / "knot.conf"
        configuration.write_text(_KNOT.format(folder=place, address=NAME_SERVER, secret=CANARY, zone=ZONE))
        with _program(["knotd", "-c", str(configuration)], place / "log"):
            yield

    @contextmanager
    def _authority(self) -> Iterator[None]:
        place = self.folder / "pebble.json"
        settings = {
            "listenAddress": f"127.0.0.1:{AUTHORITY}",
            "managementListenAddress": f"127.0.0.1:{MANAGEMENT}",
            "certificate": str(self.bundle),
            "privateKey": str(self.bundle),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": [REFUSED],
        }
        place.write_text(json.dumps({"pebble": settings}))
        command = ["pebble", "-config", str(place), "-dnsserver", f"{NAME_SERVER}:53"]
        with _program(command, self.folder / "pebble.log", PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0"):
            eventually(self._is_up, "the authority answers")
            yield

    def _is_up(self) -> bool:
        try:
            self.roots()
        except OSError:
            return False
        return True

    def roots(self) -> str:
        """The authority's root certificate, which a browser would have to trust."""
        trust = ssl.create_default_context(cafile=str(self.bundle))
        with urllib.request.urlopen(f"https://127.0.0.1:{MANAGEMENT}/roots/0", context=trust, timeout=5) as answer:
            return str(answer.read().decode())

    def play(self, playbook: Path, *, changed: Mapping[str, Any] | None = None, **more: Any) -> tuple[int, str]:
        """Runs a playbook with the settings, and with all that Ansible can be made to show."""
        own = {"atelier_instance": INSTANCE, "atelier_state_dir": str(self.state)}
        file = self.folder / "variables.json"
        file.write_text(json.dumps({**own, **self.variables, **(changed or {}), **more}))
        run = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), str(playbook)),
                *("-i", str(ROOT / "inventory/localhost.yml"), "-e", f"@{file}", "--diff", "-vvv"),
            ],
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
            capture_output=True,
            text=True,
            check=False,
        )
        return run.returncode, run.stdout + run.stderr


@contextmanager
def _program(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
