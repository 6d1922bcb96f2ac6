"""The gateway's certificate from an authority that speaks ACME (RFC 8555), by DNS-01 with lego.

The role gateway writes what to ask for into ``tls/acme`` of the state folder, the credentials into a file beside it.
lego reads each credential from a file (``dns_providers``), so none is in an environment or on a command line.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code, invalid
from ..common.locks import Locks
from ..common.messages import Message, restored, stored
from ..common.models import Site
from ..common.plain_text import last_of, on_one_line
from ..engine.one_off import NOT_RUN, TIMED_OUT, OneOff, run_once
from .certificate import SERVED, Certificate, parse, read_certificate
from .dns_providers import AWS_KEYS, PROVIDER, VARIABLES, ProviderCredentials, check_provider, credentials
from .runtime_socket import ask

FOLDER = Path("tls") / "acme"
_ISSUED = FOLDER / "issued.pem"
_LONGEST_RUN_SECONDS = 600
_WAIT_SECONDS = _LONGEST_RUN_SECONDS + 60
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=10), timedelta(days=1)
# A third of a certificate's life before its end.
_RENEWED_BEFORE = 3
_LONGEST_REASON = 400
_SHORTEST_SECRET = 4  # shorter values, such as a number of seconds, are not secrets
# lego 4's error message.
_UNKNOWN_PROVIDER = re.compile(r"unrecognized DNS provider: ?(\S*)")
_MISSING = re.compile(r"some credentials information are missing: ([A-Z0-9_, ]+)")
# The AWS library's error without credentials.
_NO_KEYS = "NoCredentialProviders"
# Responses of a name server, and the errors of most other providers.
_NOT_OURS = re.compile(r"\b(?:NOTAUTH|NOTZONE|NXDOMAIN|REFUSED)\b|could not find (?:the )?zone")
_TIME = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:\[\w+\] )?", re.MULTILINE)

Run = Callable[[str, OneOff], tuple[int, str]]


@dataclass(frozen=True)
class Request:
    """The role's request for a certificate. ``ca``: whether there is a bundle for the authority's own HTTPS.
    ``check_propagation``: whether lego waits until all name servers have the record. The image holds lego."""

    domain: str
    email: str
    directory: str
    provider: str
    resolvers: tuple[str, ...]
    image: str
    ca: bool
    check_propagation: bool

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.domain, f"*.{self.domain}"))


@dataclass(frozen=True)
class Attempts:
    """``failures``: those since the last certificate, the last of them for this ``reason``. ``next_at``: not before.
    ``issuer``: the directory that the present certificate is from."""

    failures: int = 0
    next_at: str = ""
    reason: str | None = None
    issuer: str = ""


@dataclass(frozen=True)
class Renewal:
    """``problem``: why the certificate could not be renewed, while the present one is valid."""

    changed: bool
    certificate: Certificate | None
    problem: AtelierError | None = None


def read_request(state_dir: Path) -> Request | None:
    """Reads the role's request; None if the installation gets its certificate in another way."""
    try:
        found = json.loads((state_dir / FOLDER / "request.json").read_text())
    except FileNotFoundError:
        return None
    return Request(**found | {"resolvers": tuple(found["resolvers"]), "domain": found["domain"].lower()})


def read_attempts(state_dir: Path) -> Attempts:
    try:
        found = json.loads((state_dir / FOLDER / "attempts.json").read_text())
    except (OSError, ValueError):
        return Attempts()
    return Attempts(**found | {"reason": restored(found["reason"])})


def is_due(state_dir: Path, now: datetime) -> bool:
    """Whether there is something to do, and the pause after a failure is over."""
    request, attempts = read_request(state_dir), read_attempts(state_dir)
    if request is None or (attempts.next_at and now < datetime.fromisoformat(attempts.next_at)):
        return False
    return _wants_issue(state_dir, request, attempts, now) or not _is_served(state_dir)


def renew(
    site: Site, locks: Locks, now: datetime, *, force: bool = False, keep_valid: bool = False, run: Run = run_once
) -> Renewal:
    """Gets a certificate if the present one is near its end, or in any case (``force``), and hands it to the running
    gateway, which keeps all open connections.

    Raises VALIDATION_ERROR for a wrong setting, CERTIFICATE_ERROR if lego fails and GATEWAY_ERROR if the gateway does
    not take it. The present certificate stays. With ``keep_valid`` the error is returned if that is valid still.
    """
    request = read_request(site.state_dir)
    if request is None:
        return Renewal(False, None)
    with locks.certificate(_WAIT_SECONDS):
        attempts = read_attempts(site.state_dir)
        failures = attempts.failures + 1
        again = (now + min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE)).isoformat()
        changed = force or _wants_issue(site.state_dir, request, attempts, now)
        if changed:
            # Before the authority is asked: however this ends, even by a kill, the next try has its pause.
            _note(site.state_dir, Attempts(failures, again, attempts.reason, attempts.issuer))
        try:
            if changed:
                _issue(site, request, run)
            if not _is_served(site.state_dir):
                changed = True
                _hand_over(site.state_dir)
        except AtelierError as error:
            _note(site.state_dir, Attempts(failures, again, error.sentence, attempts.issuer))
            present = read_certificate(site.state_dir / _ISSUED)
            if keep_valid and present and present.names >= request.names and present.expires > now:
                return Renewal(False, present, error)
            raise
        _note(site.state_dir, Attempts(issuer=request.directory))
        return Renewal(changed, read_certificate(site.state_dir / _ISSUED))


def _wants_issue(state_dir: Path, request: Request, attempts: Attempts, now: datetime) -> bool:
    present = read_certificate(state_dir / _ISSUED)
    if present is None or not present.names >= request.names or attempts.issuer != request.directory:
        return True
    return now > present.expires - (present.expires - present.begins) / _RENEWED_BEFORE


def _issue(site: Site, request: Request, run: Run) -> None:
    folder = site.state_dir / FOLDER
    variables: dict[str, Any] = json.loads((folder / "variables.json").read_text())
    check_provider(request.provider, variables)
    given = credentials(variables, "/variables")
    _write(folder / "variables", given.files)
    status, output = run(site.engine_url, _lego(site, request, given))
    if status != 0:
        raise _failure(request, status, output, [str(value) for value in variables.values()])
    files = folder / "lego" / "certificates"
    # Its chain is in the certificate's file. HAProxy's runtime socket takes no empty lines.
    parts = [(files / f"{request.domain}{kind}").read_text() for kind in (".crt", ".key")]
    pem = "".join(f"{line}\n" for part in parts for line in part.splitlines() if line.strip()).encode()
    if not parse(pem).names >= request.names:
        raise AtelierError(Code.CERTIFICATE_ERROR, Message("acme.other_names", domain=request.domain))
    write_atomically(site.state_dir / _ISSUED, pem, mode=0o600)


def _write(place: Path, files: Mapping[str, str]) -> None:
    """Replaces the folder by one with these files."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, content in files.items():
        write_atomically(place / name, content.encode(), mode=0o600)


def _lego(site: Site, request: Request, given: ProviderCredentials) -> OneOff:
    folder = site.state_dir / FOLDER
    (folder / "lego").mkdir(mode=0o700, exist_ok=True)
    return OneOff(
        name=f"{site.instance}-acme",
        image=request.image,
        instance=site.instance,
        arguments=[
            *("--accept-tos", "--path=/acme", f"--server={request.directory}", f"--email={request.email}"),
            *(f"--dns={request.provider}", *(f"--dns.resolvers={each}" for each in request.resolvers)),
            *(() if request.check_propagation else ("--dns.disable-cp",)),
            *(f"--domains={request.domain}", f"--domains=*.{request.domain}", "run"),
        ],
        folders={"/acme": folder / "lego", "/variables": folder / "variables"}
        | ({"/ca.pem": folder / "ca.pem"} if request.ca else {}),
        written=["/acme"],
        environment={**given.environment, **({"LEGO_CA_CERTIFICATES": "/ca.pem"} if request.ca else {})},
        seconds=_LONGEST_RUN_SECONDS,
    )


def _failure(request: Request, status: int, output: str, secrets: Iterable[str]) -> AtelierError:
    # Providers put some into addresses, which an error may quote.
    told = {form for value in secrets for form in (value, quote(value, safe=""))}
    for value in sorted(told, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            output = output.replace(value, "***")
    if unknown := _UNKNOWN_PROVIDER.search(output):
        return invalid("acme.provider", PROVIDER, provider=unknown[1] or request.provider)
    missing = _MISSING.search(output)
    if missing or _NO_KEYS in output:
        names = missing[1].strip() if missing else ",".join(AWS_KEYS)
        return invalid("acme.missing", VARIABLES, provider=request.provider, names=names)
    if status in TIMED_OUT:
        return AtelierError(Code.CERTIFICATE_ERROR, Message("acme.too_long", seconds=_LONGEST_RUN_SECONDS))
    if status == NOT_RUN:
        said = last_of(on_one_line(output.partition("\n")[0]), _LONGEST_REASON)
        return AtelierError(Code.ENGINE_ERROR, Message("acme.not_run", said=said))
    lines = [line for line in _TIME.sub("", output).splitlines() if line.strip()]
    said = last_of(lines[-1], _LONGEST_REASON) if lines else f"exit status {status}"
    if _NOT_OURS.search(said):
        message = Message("acme.not_ours", provider=request.provider, domain=request.domain, said=said)
        return AtelierError(Code.CERTIFICATE_ERROR, message, field="atelier_base_domain")
    return AtelierError(Code.CERTIFICATE_ERROR, Message("acme.failed", domain=request.domain, said=said))


def _hand_over(state_dir: Path) -> None:
    """Gives the running gateway the issued certificate, and writes it where the gateway reads it at its start."""
    pem, place = (state_dir / _ISSUED).read_bytes(), state_dir / SERVED
    answer = ask(state_dir, f"set ssl cert {place} <<\n{pem.decode()}\n")
    if answer is not None:
        committed = ask(state_dir, f"commit ssl cert {place}\n") or ""
        if "Success!" not in committed:
            said = on_one_line(f"{answer} {committed}")[:200]
            raise AtelierError(Code.GATEWAY_ERROR, Message("gateway.certificate_refused", said=said))
    write_atomically(place, pem, mode=0o600)


def _is_served(state_dir: Path) -> bool:
    """Whether the gateway has the issued certificate."""
    issued, served = (path.read_bytes() if path.exists() else b"" for path in (state_dir / _ISSUED, state_dir / SERVED))
    return issued == served


def _note(state_dir: Path, attempts: Attempts) -> None:
    noted = asdict(attempts) | {"reason": stored(attempts.reason) if attempts.reason else None}
    write_atomically(state_dir / FOLDER / "attempts.json", json.dumps(noted).encode(), mode=0o600)
