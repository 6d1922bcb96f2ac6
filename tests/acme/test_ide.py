"""A whole workshop whose certificate comes from an authority, with the credentials in a vaulted file, and an IDE that
stays open while the certificate is renewed."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from atelier.gateway.runtime_socket import ask
from playwright.sync_api import Browser, WebSocket, expect, sync_playwright

from tests.e2e.conftest import PATIENCE_MS, enter, in_terminal, launch, seat_of, trusting_home
from tests.e2e.quiet_network import quiet_network
from tests.installed import Installation, installed
from tests.waiting import eventually

from .test_acme import attempts, serial, watched_for_secrets
from .world import CANARY, DOMAIN, GATEWAY, INSTANCE, ROOT, World, make_certificate

pytestmark = pytest.mark.timeout(1200)
# Where the credentials have to be.
THEIRS = {"tls/acme/variables.json", "tls/acme/variables/RFC2136_TSIG_SECRET"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("ide"))
    code, output = made.play(ROOT / "tests/acme/packages.yml")
    assert code == 0, output[-3000:]
    with made.running():
        yield made


@pytest.fixture(scope="module")
def vault(world: World) -> list[str]:
    """The words of the command line with which an operator passes the credentials."""
    password, file = world.folder / "vault-password", world.folder / "https.yml"
    password.write_text("a password of the vault")
    secret = world.variables.pop("atelier_tls_acme_variables")
    file.write_text("".join(["atelier_tls_acme_variables:\n", *(f'  {name}: "{secret[name]}"\n' for name in secret)]))
    words = ["--vault-password-file", str(password)]
    command = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt", *words, str(file)]
    subprocess.run(command, check=True, capture_output=True)
    assert CANARY not in file.read_text()
    return ["-e", f"@{file}", *words]


@pytest.fixture(scope="module")
def installation(world: World, vault: list[str]) -> Iterator[Installation]:
    variables = {**world.variables, "atelier_templates": ["empty"], "workshop_seats": 1}
    with watched_for_secrets() as seen, installed(world.folder, INSTANCE, vault, **variables) as made:
        assert seen == set()
        yield made


@pytest.fixture(scope="module")
def near_authority(world: World) -> Path:
    now = datetime.now(UTC)
    return make_certificate(world.folder, "near-authority", now - timedelta(days=90), now + timedelta(days=90))


@pytest.fixture(scope="module")
def browser(world: World, near_authority: Path, installation: Installation) -> Iterator[Browser]:
    """It trusts the authorities, on a network that knows the domain."""
    root = world.folder / "root.pem"
    root.write_text(world.roots())
    home = trusting_home(world.folder / "home", root, near_authority)
    rules = f"MAP *.{DOMAIN} 127.0.0.1"
    with quiet_network([GATEWAY]) as program, sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        chromium = launch(playwright, f"--host-resolver-rules={rules}", program=program, home=home)
        yield chromium
        chromium.close()


class Ide:
    """The seat's IDE in the browser, and what becomes of its connections."""

    def __init__(self, browser: Browser, installation: Installation) -> None:
        seat = seat_of(installation, 1)
        assert seat.url.endswith(f".{DOMAIN}:{GATEWAY}/") and seat.url.startswith("https://")
        self._page = browser.new_page()
        self._lines: list[WebSocket] = []
        self._closed: list[str] = []
        self._page.on("websocket", self._watch)
        enter(self._page, seat.url, seat.password)
        self.makes("before.txt")
        self._opened = len(self._lines)
        assert self._opened
        self._closed.clear()  # those of the page that the sign-in left

    def _watch(self, line: WebSocket) -> None:
        self._lines.append(line)
        line.on("close", lambda _: self._closed.append(line.url))

    def makes(self, file: str) -> None:
        in_terminal(self._page, f"rm -f {file}; touch {file}\n", self._page.get_by_role("treeitem", name=file))

    def stayed_connected(self) -> None:
        self.makes("after.txt")
        assert (self._closed, len(self._lines)) == ([], self._opened), "it kept its connections, and needed no others"
        self._page.close()


def test_the_secret_of_a_vaulted_file_is_nowhere_else(installation: Installation) -> None:
    assert CANARY not in installation.output
    state = installation.state_dir
    assert {str(file.relative_to(state)) for file in _files_with_the_secret(state)} == THEIRS
    assert not list(_files_with_the_secret(ROOT / ".ansible"))
    for words in (["ps", "-aq", f"--filter=label=atelier.instance={INSTANCE}"], ["images", "-q", f"{INSTANCE}/*"]):
        for object_id in _docker(*words).split():
            assert CANARY not in _docker("inspect", object_id), object_id
            assert CANARY not in _docker(*(["logs"] if words[0] == "ps" else ["history", "--no-trunc"]), object_id)


def _files_with_the_secret(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and CANARY.encode() in file.read_bytes():
            yield file


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_an_open_ide_stays_connected_through_a_renewal(
    world: World, installation: Installation, browser: Browser
) -> None:
    ide = Ide(browser, installation)
    before = serial(world)
    renewed = installation.run("play", "certificate_renew", "-e", "certificate_force=true")
    assert renewed.returncode == 0, renewed.stdout[-3000:]
    assert CANARY not in renewed.stdout + renewed.stderr
    assert serial(world) != before
    ide.stayed_connected()


def test_the_api_renews_a_certificate_near_its_end_by_itself(
    world: World, installation: Installation, browser: Browser, near_authority: Path
) -> None:
    ide = Ide(browser, installation)
    before, known = serial(world), _jobs()
    _serve_one_near_its_end(world, near_authority)
    eventually(lambda: _serial(world) not in (None, before), "the authority's new certificate is served", 240)

    def ended() -> list[Any]:
        return [job for id, job in _jobs().items() if id not in known and job["state"] not in ("pending", "running")]

    (job,) = eventually(ended, "its job has ended")
    assert job["state"] == "successful", job
    assert attempts(world)["failures"] == 0
    assert CANARY not in str(job)
    ide.stayed_connected()


def _serve_one_near_its_end(world: World, issuer: Path) -> None:
    """Gives the running gateway, and the files from which it starts, a certificate with a day left."""
    now = datetime.now(UTC)
    names = (DOMAIN, f"*.{DOMAIN}")
    pem = make_certificate(
        world.folder, "near", now - timedelta(days=60), now + timedelta(days=1), *names, issuer=issuer
    ).read_text()
    served = world.state / "gateway/tls.pem"
    for place in (world.state / "tls/acme/issued.pem", served):
        place.write_text(pem)
    ask(world.state, f"set ssl cert {served} <<\n{pem}\n")
    assert "Success!" in (ask(world.state, f"commit ssl cert {served}\n") or "")
    assert _serial(world) is None


def _serial(world: World) -> str | None:
    """The serial number of the authority's certificate; None while another certificate is served."""
    with suppress(ssl.SSLError):
        return serial(world)
    return None


def _jobs() -> dict[str, Any]:
    """The API's jobs for the certificate, by their ids; only its clock asks for one."""
    # The certificate is valid for the domain, whatever its issuer.
    jobs = httpx.get(f"https://127.0.0.1:{GATEWAY}/api/jobs", verify=False, timeout=30).json()["jobs"]  # noqa: S501
    return {job["id"]: job for job in jobs if job["operation"] == "certificate"}


def test_a_second_up_changes_nothing(installation: Installation, vault: list[str]) -> None:
    again = installation.run("up", *vault)
    assert again.returncode == 0, again.stdout[-3000:]
    assert "Done: 0 changed" in again.stdout
