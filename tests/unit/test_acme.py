"""The gateway's certificate from an authority: when it is requested, failures, and no secret in errors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import id_of
from atelier.common.models import CONTROLLER, Node
from atelier.engine.one_off import OneOff
from atelier.gateway import acme
from atelier.gateway.acme import is_due, read_attempts, renew
from atelier.gateway.certificate import SERVED, machine_certificates_expire, read_certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support import site

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DOMAIN, CANARY = "workshop.example.org", "canary-of-the-zone-Xy7"
DAYS = 90


def certificate(*names: str, begins: datetime, days: int = DAYS) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return made.public_bytes(encoding), key.private_bytes(encoding, private, serialization.NoEncryption())


class Place:
    """An installation that asks an authority. ``runs`` are lego's; it fails with ``output``, if there is some."""

    def __init__(self, folder: Path) -> None:
        self.site = replace(site(folder), domain=DOMAIN)
        self.locks = Locks(folder)
        self.folder = folder / acme.FOLDER
        self.folder.mkdir(parents=True)
        (folder / "gateway").mkdir()
        self.runs: list[OneOff] = []
        self.output = ""
        self.status = 1
        self.names: tuple[str, ...] = (DOMAIN, f"*.{DOMAIN}")
        self.now = NOW
        self.ask()

    def ask(self, **values: object) -> None:
        request = {
            "domain": DOMAIN,
            "email": "me@example.org",
            "directory": "https://authority/",
            "provider": "rfc2136",
        }
        request |= {"resolvers": ["127.0.0.1:53"], "image": "test/acme:1", "ca": False}
        request["check_propagation"] = True
        (self.folder / "request.json").write_text(json.dumps(request | values))
        self.give(RFC2136_TSIG_SECRET=CANARY, RFC2136_NAMESERVER="ns1.example.org")

    def give(self, **variables: str) -> None:
        (self.folder / "variables.json").write_text(json.dumps(variables))

    def lego(self, url: str, program: OneOff) -> tuple[int, str]:
        self.runs.append(program)
        if self.output:
            return self.status, self.output
        files = program.folders["/acme"] / "certificates"
        files.mkdir(exist_ok=True)
        public, private = certificate(*self.names, begins=self.now)
        (files / f"{DOMAIN}.crt").write_bytes(public + b"\n" + certificate("ca", begins=self.now)[0])
        (files / f"{DOMAIN}.key").write_bytes(private)
        return 0, ""

    def renew(self, **options: bool) -> acme.Renewal:
        return renew(self.site, self.locks, self.now, run=self.lego, **options)

    def is_due(self, **later: float) -> bool:
        return is_due(self.site.state_dir, self.now + timedelta(**later))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def haproxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that the running gateway gets; it takes everything."""
    commands: list[str] = []

    def answer(_: Path, command: str) -> str:
        commands.append(command)
        return "Transaction created\n\n" if command.startswith("set") else "Committing\nSuccess!\n\n"

    monkeypatch.setattr(acme, "ask", answer)
    return commands


def test_it_is_got_once_and_again_in_the_last_third_of_its_life(place: Place) -> None:
    assert place.is_due()
    assert place.renew().changed
    served = read_certificate(place.site.state_dir / SERVED)
    assert served is not None and served.names == {DOMAIN, f"*.{DOMAIN}"}
    assert served.expires == NOW + timedelta(days=DAYS)
    assert not place.is_due(days=59)
    assert not place.renew().changed
    assert len(place.runs) == 1
    assert place.is_due(days=61)
    place.now += timedelta(days=61)
    assert place.renew().changed
    assert not place.is_due()
    assert place.renew(force=True).changed


def test_another_domain_and_another_authority_want_another_certificate(place: Place) -> None:
    place.renew()
    place.ask(directory="https://another/")
    assert place.is_due()
    place.renew()
    assert not place.is_due()
    place.ask(domain="Other.example.org")
    assert place.is_due()


def test_without_a_request_nothing_is_done(place: Place) -> None:
    (place.folder / "request.json").unlink()
    assert not place.is_due()
    assert place.renew(force=True) == acme.Renewal(False, None)


def test_the_running_gateway_gets_it_without_a_reload(place: Place, haproxy: list[str]) -> None:
    place.renew()
    at = f"{place.site.state_dir}/gateway/tls.pem"
    given, committed = haproxy
    assert given.startswith(f"set ssl cert {at} <<\n-----BEGIN CERTIFICATE-----\n")
    # A payload ends with its first empty line.
    assert given.index("\n\n") == len(given) - 2
    assert given.count("BEGIN CERTIFICATE") == 2 and given.count("BEGIN PRIVATE KEY") == 1
    assert committed == f"commit ssl cert {at}\n"
    assert (place.site.state_dir / "gateway/tls.pem").stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_refuses_it_keeps_the_old_one_and_gets_it_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.renew()
    old = (place.site.state_dir / "gateway/tls.pem").read_bytes()
    monkeypatch.setattr(acme, "ask", lambda *_: "unable to load\n")
    with pytest.raises(AtelierError) as refused:
        place.renew(force=True)
    assert refused.value.code is Code.GATEWAY_ERROR
    assert (place.site.state_dir / "gateway/tls.pem").read_bytes() == old
    assert not place.is_due(minutes=9)
    assert place.is_due(minutes=11)
    monkeypatch.setattr(acme, "ask", lambda *_: "Success!\n")
    assert place.renew().changed
    # The authority is not asked a third time.
    assert len(place.runs) == 2
    assert (place.site.state_dir / "gateway/tls.pem").read_bytes() != old


def test_a_failure_keeps_the_certificate_and_the_next_try_waits_longer_each_time(place: Place) -> None:
    place.renew()
    old = (place.site.state_dir / "gateway/tls.pem").read_bytes()
    place.now += timedelta(days=70)
    place.output = "2027/01/01 00:00:00 Could not obtain certificates:\n\tacme: error: 500 :: the authority is down"
    for failures, minutes in ((1, 10), (2, 20), (3, 40), (4, 80)):
        with pytest.raises(AtelierError) as failed:
            place.renew()
        assert failed.value.code is Code.CERTIFICATE_ERROR
        assert "the authority is down" in str(failed.value)
        attempts = read_attempts(place.site.state_dir)
        assert (attempts.failures, id_of(attempts.reason)) == (failures, "sentences")
        assert not place.is_due(minutes=minutes - 1)
        assert place.is_due(minutes=minutes + 1)
    for _ in range(20):
        with pytest.raises(AtelierError):
            place.renew()
    assert place.is_due(hours=24, minutes=1)
    assert not place.is_due(hours=23)
    assert (place.site.state_dir / "gateway/tls.pem").read_bytes() == old
    place.output = ""
    assert place.renew().changed
    assert read_attempts(place.site.state_dir).failures == 0


def test_a_try_that_did_not_end_counts_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority allows a few certificates a week: no try may be repeated every minute, however it ended."""
    place.renew()
    place.now += timedelta(days=70)

    def killed(url: str, program: OneOff) -> tuple[int, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "lego", killed)
    with pytest.raises(KeyboardInterrupt):
        place.renew()
    assert read_attempts(place.site.state_dir).failures == 1
    assert not place.is_due(minutes=9)
    assert place.is_due(minutes=11)


def test_up_goes_on_with_a_valid_certificate_only(place: Place) -> None:
    place.output = "no"
    with pytest.raises(AtelierError):
        place.renew(keep_valid=True)
    place.output = ""
    place.renew()
    place.now, place.output = place.now + timedelta(days=80), "no"
    kept = place.renew(keep_valid=True)
    assert kept.problem is not None and not kept.changed
    place.now += timedelta(days=20)  # expired
    with pytest.raises(AtelierError):
        place.renew(keep_valid=True)


@pytest.mark.parametrize(
    ("output", "field", "words"),
    [
        ("2027/01/01 00:00:00 unrecognized DNS provider: nonsense", "atelier_tls_acme.provider", "'nonsense'"),
        (
            "2027/01/01 00:00:00 rfc2136: some credentials information are missing: RFC2136_NAMESERVER",
            "atelier_tls_acme_variables",
            "RFC2136_NAMESERVER",
        ),
        (
            "route53: NoCredentialProviders: no valid providers in chain. Deprecated.\n\tFor verbose messaging see",
            "atelier_tls_acme_variables",
            "AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY",
        ),
        (
            "2027/01/01 00:00:00 [INFO] x\nrfc2136: failed to insert: DNS update failed: server replied: NOTAUTH",
            "atelier_base_domain",
            f"zone of {DOMAIN}",
        ),
        (
            "error presenting token: rfc2136: failed to insert: unexpected response code 'REFUSED' for _acme-challenge",
            "atelier_base_domain",
            "'REFUSED'",
        ),
    ],
)
def test_an_error_names_the_setting(place: Place, output: str, field: str, words: str) -> None:
    place.output = output
    with pytest.raises(AtelierError) as failed:
        place.renew()
    assert failed.value.details["field"] == field
    assert words in failed.value.message
    assert failed.value.message.remedy


def test_a_run_that_takes_too_long_is_said_so(place: Place) -> None:
    place.output, place.status = "...", 124
    with pytest.raises(AtelierError, match="longer than 600 seconds"):
        place.renew()


def test_a_missing_image_is_no_fault_of_the_authority(place: Place) -> None:
    place.output = "docker: Error response from daemon: No such image: test/acme:1\n\nRun 'docker run --help' for more"
    place.status = 125
    with pytest.raises(AtelierError, match="No such image: test/acme:1"):
        place.renew()


def test_a_wrong_name_of_a_variable_is_refused_before_anything_runs(place: Place) -> None:
    place.give(**{"../../etc/passwd": "x"})
    with pytest.raises(AtelierError) as failed:
        place.renew()
    assert failed.value.details["field"] == "atelier_tls_acme_variables"
    assert place.runs == []


def test_a_provider_that_cannot_be_used_is_refused_before_anything_runs(place: Place) -> None:
    place.ask(provider="manual")
    with pytest.raises(AtelierError) as failed:
        place.renew()
    assert failed.value.details["field"] == "atelier_tls_acme.provider"
    assert place.runs == []


def test_a_certificate_for_other_names_is_not_taken(place: Place) -> None:
    place.names = (DOMAIN,)
    with pytest.raises(AtelierError, match=r"not for workshop\.example\.org and its subdomains"):
        place.renew()
    assert not (place.site.state_dir / "gateway/tls.pem").exists()


def test_a_credential_is_no_part_of_an_address_that_is_told(place: Place) -> None:
    place.give(HTTPREQ_PASSWORD="s/e c+r&et", HTTPREQ_USERNAME="me", RFC2136_NAMESERVER="ns1.example.org")
    place.output = 'Get "https://api.example.org/?key=s%2Fe%20c%2Br%26et": refused'
    with pytest.raises(AtelierError) as failed:
        place.renew()
    assert "?key=***" in str(failed.value) and "%2Fe" not in str(failed.value)


def test_credentials_are_in_files_only(place: Place) -> None:
    place.output = f"could not update with key {CANARY} at ns1.example.org"
    with pytest.raises(AtelierError) as failed:
        place.renew()
    (program,) = place.runs
    assert CANARY not in json.dumps([*program.arguments, *program.environment.items(), *map(str, program.folders)])
    assert program.environment["RFC2136_TSIG_SECRET_FILE"] == "/variables/RFC2136_TSIG_SECRET"
    assert program.written == ["/acme"]
    file = place.folder / "variables" / "RFC2136_TSIG_SECRET"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (CANARY, 0o600)
    assert CANARY not in str(failed.value) + json.dumps(failed.value.details, default=str)
    assert CANARY not in (place.folder / "attempts.json").read_text()
    # One that is no longer set is gone.
    place.give(RFC2136_NAMESERVER="ns1.example.org")
    with pytest.raises(AtelierError):
        place.renew()
    assert not file.exists()


def test_a_file_that_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    assert read_certificate(tmp_path / SERVED) is None
    (tmp_path / "gateway/tls.pem").write_text("nonsense")
    assert read_certificate(tmp_path / SERVED) is None


def test_the_first_certificate_of_each_machine_that_expires_counts(tmp_path: Path) -> None:
    alone = site(tmp_path)
    several = replace(alone, nodes=(Node("alpha", "unix:///alpha"), Node("new", "unix:///new")))
    days = {"ca": 1, "engine-client": 90, "registry": 40, "nodes/alpha/node": 20, "nodes/alpha/git-client": 30}
    for name, valid in {**days, "nodes/removed/node": 2}.items():
        file = several.pki / f"{name}.crt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(certificate(name, begins=NOW, days=valid)[0])
    (several.pki / "nodes/alpha/damaged.crt").write_text("nothing")
    found = machine_certificates_expire(several)
    assert found == {CONTROLLER: NOW + timedelta(days=40), "alpha": NOW + timedelta(days=20)}
    assert machine_certificates_expire(alone) == {}
