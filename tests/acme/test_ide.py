"""A whole workshop whose certificate comes from an authority, and an IDE that stays open while it is renewed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, WebSocket, expect, sync_playwright

from tests.e2e.conftest import PATIENCE_MS, enter, in_terminal, launch, seat_of, trusting_home
from tests.e2e.quiet_network import quiet_network
from tests.installed import Installation, installed

from .test_acme import serial
from .world import CANARY, DOMAIN, GATEWAY, INSTANCE, ROOT, World

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("ide"))
    code, output = made.play(ROOT / "tests/acme/packages.yml")
    assert code == 0, output[-3000:]
    with made.running():
        yield made


@pytest.fixture(scope="module")
def installation(world: World) -> Iterator[Installation]:
    with installed(world.folder, INSTANCE, **world.variables, atelier_templates=["empty"], workshop_seats=1) as made:
        yield made


@pytest.fixture(scope="module")
def browser(world: World, installation: Installation) -> Iterator[Browser]:
    """It trusts the authority, on a network that knows the domain."""
    root = world.folder / "root.pem"
    root.write_text(world.roots())
    home = trusting_home(world.folder / "home", root)
    rules = f"MAP *.{DOMAIN} 127.0.0.1"
    with quiet_network([GATEWAY]) as program, sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        chromium = launch(playwright, f"--host-resolver-rules={rules}", program=program, home=home)
        yield chromium
        chromium.close()


def test_an_open_ide_stays_connected_through_a_renewal(
    world: World, installation: Installation, browser: Browser
) -> None:
    assert CANARY not in installation.output
    seat = seat_of(installation, 1)
    assert seat.url.endswith(f".{DOMAIN}:{GATEWAY}/") and seat.url.startswith("https://")
    page = browser.new_page()
    lines: list[WebSocket] = []
    closed: list[str] = []

    def watch(line: WebSocket) -> None:
        lines.append(line)
        line.on("close", lambda _: closed.append(line.url))

    page.on("websocket", watch)
    enter(page, seat.url, seat.password)
    before = page.get_by_role("treeitem", name="before.txt")
    in_terminal(page, "touch before.txt\n", before)
    serials = [serial(world)]
    opened = len(lines)
    assert opened
    closed.clear()  # those of the page that the sign-in left
    renewed = installation.run("play", "certificate_renew", "-e", "certificate_force=true")
    assert renewed.returncode == 0, renewed.stdout[-3000:]
    assert CANARY not in renewed.stdout + renewed.stderr
    serials.append(serial(world))
    assert serials[0] != serials[1]
    in_terminal(page, "touch after.txt\n", page.get_by_role("treeitem", name="after.txt"))
    assert (closed, len(lines)) == ([], opened), "the IDE kept its connections, and needed no others"
    page.close()


def test_a_second_up_changes_nothing(installation: Installation) -> None:
    again = installation.run("up")
    assert again.returncode == 0, again.stdout[-3000:]
    assert "Done: 0 changed" in again.stdout
