"""The installation of the other tests, removed and set up again for a closed network: HTTPS by its own authority,
and templates whose apps a browser opens.

Runs last, since the installation's addresses are others from then on.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.installed import ROOT, Installation
from tests.waiting import eventually

from .conftest import (
    HTTP_PORT,
    HTTPS_PORT,
    PATIENCE_MS,
    enter,
    launch,
    seat_of,
    started,
    trusting_home,
    visit,
    write_in,
)

DOMAIN = "atelier.test"


class Secure:
    """The installation, and a client of its API that trusts its authority and nobody else."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.made: dict[str, dict[str, Any]] = {}
        self.authority = installation.state_dir / "tls/ca.pem"
        self._client = httpx.Client(verify=ssl.create_default_context(cafile=str(self.authority)), timeout=600)

    def ask(self, method: str, path: str, host: str = DOMAIN, **options: Any) -> httpx.Response:
        return self._client.request(
            method,
            f"https://127.0.0.1:{HTTPS_PORT}{path}",
            headers={"Host": f"{host}:{HTTPS_PORT}"},
            extensions={"sni_hostname": host},
            **options,
        )

    def create(self, template: str) -> dict[str, Any]:
        answer = self.ask("POST", "/api/projects/create", json={"projectName": template, "projectType": template})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()["project"]
        return made


@pytest.fixture(scope="module")
def secure(installation: Installation) -> Secure:
    """Brought up again with TLS and another domain. What ``down`` and ``up`` must leave as it was is asserted here."""
    write_in(seat_of(installation, 1), "before-down.txt")
    before = [(seat.name, seat.password) for seat in installation.seats()]
    down = installation.run("down")
    assert down.returncode == 0, down.stdout[-3000:]
    assert not started()
    variables = {
        **json.loads(installation.variables.read_text()),
        "atelier_base_domain": DOMAIN,
        "atelier_base_port": HTTPS_PORT,
        "atelier_redirect_port": HTTP_PORT,
        "atelier_tls_self_made": True,
    }
    file = installation.variables.with_name("secure.json")
    file.write_text(json.dumps(variables))
    made = replace(installation, variables=file)
    up = made.run("up")
    assert up.returncode == 0, up.stdout[-3000:]
    assert [(seat.name, seat.password) for seat in made.seats()] == before
    assert not [password for _, password in before if password in up.stdout]
    secure = Secure(made)
    # The API builds the images of both templates, which `up` does not.
    secure.made = {template: secure.create(template) for template in ("python-flask", "nodejs-react")}
    return secure


@pytest.fixture(scope="module")
def trusting(
    playwright: Playwright, chromium_program: Path, secure: Secure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser to which the authority was made known, as its README tells, on a network that knows the domain."""
    home = trusting_home(tmp_path_factory.mktemp("home"), secure.authority)
    rules = f"MAP {DOMAIN} 127.0.0.1, MAP *.{DOMAIN} 127.0.0.1"
    chromium = launch(playwright, f"--host-resolver-rules={rules}", program=chromium_program, home=home)
    yield chromium
    chromium.close()


def test_down_keeps_the_seats_and_up_brings_them_back_over_https(secure: Secure, trusting: Browser) -> None:
    seat = seat_of(secure.installation, 1)
    assert seat.url.startswith(f"https://{seat.url.split('//')[1].split('.')[0]}.{DOMAIN}:{HTTPS_PORT}/")
    page = trusting.new_page()
    enter(page, seat.url, seat.password)
    expect(page.get_by_role("treeitem", name="before-down.txt")).to_be_visible(timeout=PATIENCE_MS)
    cookies = page.context.cookies()
    assert cookies
    assert all(cookie["secure"] for cookie in cookies), cookies
    protocol = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
    assert protocol == "h2"
    page.close()


def test_plain_http_is_sent_to_https(secure: Secure) -> None:
    headers = {"Host": f"{DOMAIN}:{HTTP_PORT}"}
    answer = httpx.get(f"http://127.0.0.1:{HTTP_PORT}/some/page?x=1", headers=headers, timeout=60)
    assert answer.status_code in (301, 308)
    assert answer.headers["location"] == f"https://{DOMAIN}:{HTTPS_PORT}/some/page?x=1"


def test_the_api_speaks_of_https(secure: Secure) -> None:
    config = secure.ask("GET", "/api/config").json()["config"]
    assert (config["protocol"], config["baseDomain"], str(config["basePort"])) == ("https", DOMAIN, str(HTTPS_PORT))
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{HTTPS_PORT}/api/health", timeout=60)


def test_the_ide_has_what_browsers_give_to_secure_pages_only(secure: Secure, trusting: Browser) -> None:
    """The clipboard, and webviews: the preview of a Markdown file is one."""
    seat = seat_of(secure.installation, 1)
    context = trusting.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    enter(page, seat.url, seat.password)
    assert page.evaluate("window.isSecureContext")
    page.bring_to_front()
    assert (
        page.evaluate("navigator.clipboard.writeText('copied').then(() => navigator.clipboard.readText())") == "copied"
    )
    page.get_by_role("treeitem", name="README.md").dblclick()
    expect(page.get_by_role("tab", name="README.md")).to_be_visible(timeout=PATIENCE_MS)
    preview = page.frame_locator("iframe.webview").frame_locator("iframe#active-frame").locator(".markdown-body")
    for last in (False, False, True):
        page.keyboard.press("Control+Shift+V")
        try:
            expect(preview).not_to_be_empty(timeout=PATIENCE_MS / 2)
        except AssertionError:
            if last:
                raise
        else:
            break
    context.close()


def test_nothing_of_the_platform_needs_attention_and_the_page_says_when_the_certificate_ends(
    secure: Secure, trusting: Browser
) -> None:
    expected = {"gateway_away", "recorder_away", "whitelist_away", "git_away", "plain_http", "certificate_not_renewed"}
    eventually(lambda: "atelier_service_up{" in secure.ask("GET", "/metrics").text, "the services were asked")

    def attention() -> dict[str, Any]:
        return dict(secure.ask("GET", "/api/attention").json())

    # A busy service may not have answered when it was asked last.
    eventually(lambda: not expected & {found["code"] for found in attention()["findings"]}, "no such finding")
    assert attention()["certificateExpires"]

    def services() -> list[str]:
        return sorted(re.findall(r'atelier_service_up{.*service="(\w+)"} 1\.0', secure.ask("GET", "/metrics").text))

    eventually(lambda: services() == ["git", "recorder", "squid"], "all services answer")
    page = trusting.new_page()
    visit(page, f"https://{DOMAIN}:{HTTPS_PORT}/", page.get_by_role("heading", name="What needs attention"))
    expect(page.get_by_text("The certificate expires")).to_be_visible()
    page.close()


@pytest.mark.parametrize(
    ("template", "port", "heading"),
    [("python-flask", 5000, "Hello from Flask"), ("nodejs-react", 3000, "Hello from React")],
)
def test_the_app_of_a_template_starts_with_its_task(
    secure: Secure, trusting: Browser, template: str, port: int, heading: str
) -> None:
    made = secure.made[template]
    ide: Page = trusting.new_page()
    # It opens with its README.
    visit(ide, made["workspaceUrl"], ide.get_by_role("tab", name="README.md"))
    start_app(ide)
    app: Page = trusting.new_page()
    address = made["workspaceUrl"].replace(made["id"], f"{made['id']}-{port}")
    # Until the app listens, the gateway's page says so, and asks again by itself.
    visit(app, address, app.get_by_role("heading", name=heading))
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    ide.screenshot(path=out / f"{template}-ide.png")
    app.screenshot(path=out / f"{template}-app.png")
    ide.close()
    app.close()


def start_app(ide: Page) -> None:
    """The shortcut is deaf while the IDE still loads what handles it: pressed again, as a person would."""
    for last in (False, False, True):
        ide.keyboard.press("Control+Shift+B")
        try:
            expect(ide.get_by_text("Start the app - Task").first).to_be_visible(timeout=PATIENCE_MS / 2)
        except AssertionError:
            if last:
                raise
        else:
            return
