"""A whole installation, and a real browser to look at it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.installed import Installation, Seat, installed

from .internet import ADDRESS, NAMES, internet
from .quiet_network import quiet_network

INSTANCE = "atelier-e2e"
PORT = 18081
# Of test_workshop_https.py's installation: the gateway's, and where it sends people from.
HTTPS_PORT, HTTP_PORT = 18443, 18082
SEATS = 3
DAY = "spring-2027"
ADMIN_PASSWORD = "canary-of-the-day"
# A cold workbench fetches some hundred files through the gateway.
PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    hosts = dict.fromkeys(NAMES, ADDRESS)
    with (
        internet(folder / "internet") as authority,
        installed(
            folder,
            INSTANCE,
            atelier_base_port=PORT,
            atelier_squid_hosts=hosts,
            atelier_recorder_hosts=hosts,
            atelier_recorder_upstream_ca=str(authority),
            # Nothing of a range for documentation is public in truth.
            atelier_recorder_allowed_networks=[f"{ADDRESS}/32"],
            atelier_network_open_bridge="atl-e2e",
            atelier_network_open_subnet="172.24.0.0/17",
            atelier_network_logging_bridge="atl-e2e-log",
            atelier_network_logging_subnet="172.24.128.0/18",
            atelier_network_security_bridge="atl-e2e-sec",
            atelier_network_security_subnet="172.24.192.0/18",
            # The one with a JDK: Java, too, is to trust the recorder.
            atelier_templates=["empty", "java-spring"],
            workshop_seats=SEATS,
            # The day of test_pages.py, whose seats are others than those that `up` made.
            workshop_group="workshop",
            atelier_workshop_group=DAY,
            atelier_workshop_admin_password=ADMIN_PASSWORD,
        ) as made,
    ):
        yield made


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for all browsers: it allows no second in the same thread."""
    with sync_playwright() as started:
        # Who waits shorter asks a loaded machine to be quick.
        expect.set_options(timeout=PATIENCE_MS)
        yield started


@pytest.fixture(scope="session")
def chromium_program() -> Iterator[Path]:
    with quiet_network([PORT, HTTPS_PORT, HTTP_PORT]) as program:
        yield program


@pytest.fixture(scope="session")
def browser(playwright: Playwright, chromium_program: Path) -> Iterator[Browser]:
    chromium = launch(playwright, program=chromium_program)
    yield chromium
    chromium.close()


def launch(
    playwright: Playwright, *arguments: str, program: Path = Path("/usr/bin/chromium"), home: Path | None = None
) -> Browser:
    """Debian's Chromium, kept from calling home: only the page under test is to be reached."""
    return playwright.chromium.launch(
        executable_path=program,
        env={**os.environ, "HOME": str(home)} if home else None,
        args=[
            *arguments,
            *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update"),
        ],
    )


def trusting_home(home: Path, *authorities: Path) -> Path:
    """Makes a home folder for ``launch`` whose browser trusts authorities (PEM files)."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    trusted = [["-A", "-n", each.stem, "-t", "C,,", "-i", str(each)] for each in authorities]
    for arguments in (["-N", "--empty-password"], *trusted):
        subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True, capture_output=True)
    return home


def visit(page: Page, url: str, awaited: Locator) -> None:
    """Opens an address and waits until something is seen.

    Where Chromium sees the interfaces of containers come and go, it cancels loads and may show a page partially: reload
    it, as a person would.
    """
    deadline = time.monotonic() + 3 * PATIENCE_MS / 1000
    while True:
        try:
            page.goto(url)
            expect(awaited).to_be_visible(timeout=PATIENCE_MS)
        except (PlaywrightError, AssertionError):
            if time.monotonic() > deadline:
                raise
            # The page may be loading by itself what was dropped.
            page.wait_for_timeout(200)
        else:
            return


def enter(page: Page, url: str, password: str) -> None:
    """Opens a seat, signs in, and waits for its files; does again what Chromium cancelled."""
    field, files = page.get_by_placeholder("PASSWORD"), page.get_by_role("treeitem", name="README.md")
    cancelled = page.get_by_text("ERR_NETWORK_CHANGED").first
    visit(page, url, field)
    field.fill(password)
    page.get_by_role("button", name="SUBMIT").click()
    expect(field).to_be_hidden(timeout=PATIENCE_MS)
    try:
        expect(files.or_(cancelled)).to_be_visible(timeout=PATIENCE_MS)
    except AssertionError:
        visit(page, url, files)
        return
    if cancelled.is_visible():
        visit(page, url, field.or_(files))
        # It may have been the sign-in itself.
        if field.is_visible():
            enter(page, url, password)


def changed_count(output: str) -> int:
    """The number of changes in the last line of the program's output."""
    found = re.findall(r"(\d+) changed", output)
    assert found, output[-2000:]
    return sum(int(number) for number in found)


def in_terminal(page: Page, command: str, awaited: Locator) -> None:
    """Types the command until something is seen: an IDE that still loads hears neither shortcut nor keys."""
    terminal = page.locator(".terminal.xterm")
    for last in (False, False, True):
        if not terminal.is_visible():
            page.keyboard.press("Control+Backquote")
        try:
            expect(terminal).to_be_visible(timeout=PATIENCE_MS / 2)
            terminal.click()
            page.keyboard.type(command)
            expect(awaited).to_be_visible(timeout=PATIENCE_MS / 2)
        except AssertionError:
            if last:
                raise
        else:
            return


def seat_of(installation: Installation, number: int) -> Seat:
    return next(seat for seat in installation.seats() if seat.name == f"Workshop {number}")


def workspace_of(seat: Seat) -> str:
    """The seat's id."""
    return seat.url.split("//")[1].split(".")[0]


def write_in(seat: Seat, name: str) -> None:
    """Makes a file in the seat's project, as its user does in a terminal."""
    client = docker.from_env()
    labels = [f"atelier.workspace={workspace_of(seat)}", f"atelier.instance={INSTANCE}"]
    (container,) = client.containers.list(filters={"label": labels})
    assert container.exec_run(["touch", f"/workspace/{name}"], user="coder").exit_code == 0
    client.close()


def started() -> dict[str, str]:
    """When each running container of the installation was started."""
    api = docker.APIClient(version="auto")
    running = api.containers(filters={"label": f"atelier.instance={INSTANCE}"})
    return {entry["Id"]: api.inspect_container(entry["Id"])["State"]["StartedAt"] for entry in running}
