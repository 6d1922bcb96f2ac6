"""The pages in a real browser: an operator's day, and a workshop with twenty simultaneous participants.

The tests are one day and run in its order. Screenshots are left in out/.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import httpx
import pytest
from atelier.workshop.manifest import fault_of, read_manifest
from axe_playwright_python.sync_playwright import Axe
from backports import zstd
from playwright.sync_api import Browser, Locator, Page, expect

from tests.installed import ROOT, Installation

from .conftest import ADMIN_PASSWORD, DAY, PATIENCE_MS, PORT, visit
from .internet import ALLOWED, BLOCKED, MODELS

URL = f"http://localhost:{PORT}"
BASE = "Flask-course"
NAMES = ["Ada", "Ben", "Chloe", "Dara", "Eva", "Finn", "Greta", "Hugo", "Ida", "Jan"]
NAMES += ["Kim", "Lena", "Mara", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tess", "Uwe"]
PARTICIPANTS = len(NAMES)
OUT = ROOT / "out"
PHONE = {"width": 390, "height": 844}
# Notes every state that the list ever shows; it is lost if the page is reloaded.
REMEMBER = """
window.seen = new Set()
new MutationObserver(() => {
  for (const shown of document.querySelectorAll('.status, .job')) window.seen.add(shown.innerText.trim())
}).observe(document.getElementById('workspaces'), { subtree: true, childList: true, characterData: true })
"""
CHAT = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "What is a palindrome?"}]}'


@pytest.fixture(scope="module")
def api(installation: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{URL}/api", timeout=120) as client:
        yield client


@pytest.fixture
def english(browser: Browser, installation: Installation) -> Iterator[Page]:
    with _reader(browser, "en-GB") as page:
        yield page


@pytest.fixture
def german(browser: Browser, installation: Installation) -> Iterator[Page]:
    """Also in the dark."""
    with _reader(browser, "de-DE", color_scheme="dark") as page:
        yield page


# --- The operator ---------------------------------------------------------------------------------------------------


def test_an_operator_makes_a_workspace_and_clones_it(english: Page) -> None:
    page = english
    visit(page, URL, page.get_by_role("heading", name="Workspaces"))
    page.get_by_role("button", name="New workspace").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("x!")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("is not a workspace name")).to_be_visible()
    expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    dialog.get_by_label("Template").select_option("git-clone")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("A repository's address with https://")).to_be_visible()
    _check(page, "a form with a fault")
    dialog.get_by_label("Template").select_option("empty")
    dialog.get_by_label("Name", exact=True).fill(BASE)
    dialog.get_by_label("Group").fill(DAY)
    dialog.get_by_label("Notes").fill("Prepared by Ana.")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_be_hidden()
    # From here on the page is not reloaded: changes must appear by themselves.
    page.evaluate(REMEMBER)
    expect(_row(page, BASE).get_by_text("Running")).to_be_visible(timeout=PATIENCE_MS)
    _choose(_row(page, BASE), "Clone")
    dialog.get_by_label("How many").fill(str(PARTICIPANTS))
    dialog.get_by_role("button", name="Clone").click()
    last = _row(page, f"{BASE} {PARTICIPANTS}")
    expect(last.get_by_text("Running")).to_be_visible(timeout=3 * PATIENCE_MS)
    page.get_by_role("combobox", name="Group").select_option(DAY)
    expect(page.get_by_text(f"{PARTICIPANTS + 1} workspaces", exact=True)).to_be_visible()
    expect(_row(page, "Workshop 1")).to_have_count(0)
    seen = page.evaluate("[...window.seen]")
    assert "Creating" in seen
    assert [text for text in seen if text.startswith(f"Clone · {PARTICIPANTS} workspaces")]
    _check(page, "the workspaces")
    _picture(page, "workspaces")
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="Clone").first.click()
    expect(page.get_by_role("log").get_by_text("taking a snapshot of")).to_be_visible()
    expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    _check(page, "a job")
    _picture(page, "job")


def test_an_operator_has_the_page_in_french(browser: Browser) -> None:
    with _reader(browser, "fr-FR") as page:
        visit(page, URL, page.get_by_role("heading", name="Espaces de travail"))
        expect(page.locator("html")).to_have_attribute("lang", "fr")
        expect(page.get_by_role("button", name="Nouvel espace de travail")).to_be_visible()


def test_an_operator_changes_a_workspace(german: Page, api: httpx.Client) -> None:
    if BASE not in [project["name"] for project in api.get("/projects/").json()["projects"]]:
        # The test runs alone.
        _created(api, BASE, "none", group=DAY, notes="Prepared by Ana.")
    page = german
    visit(page, f"{URL}/?group={DAY}", page.get_by_role("heading", name="Workspaces"))
    dialog = page.get_by_role("dialog")
    notes = page.get_by_role("textbox", name="Notizen", exact=True)
    _choose(_row(page, BASE), "Notizen")
    _write_notes(page, notes, "Prepared by Ana.", "Bereit.")
    page.get_by_role("link", name=BASE, exact=True).click()
    _write_notes(page, notes, "Bereit.", "Ganz bereit.")
    facts = page.locator("#facts")
    expect(facts.get_by_text("mit Image")).to_be_visible(timeout=PATIENCE_MS)  # the disk
    _choose(facts, "Passwort")
    dialog.get_by_label("Neues Passwort").fill("kurz")
    dialog.get_by_role("button", name="Speichern").click()
    expect(dialog.get_by_text("8 bis 50 Zeichen, keine Steuerzeichen.")).to_be_visible()
    dialog.get_by_label("Neues Passwort").fill("lang-genug-1")
    dialog.get_by_role("button", name="Speichern").click()
    expect(facts.get_by_text("Mit Passwort geschützt")).to_be_visible(timeout=PATIENCE_MS)
    facts.get_by_role("button", name="Stoppen").click()
    dialog.get_by_role("button", name="Stoppen").click()
    expect(dialog.get_by_text("Das Passwort des Workspace fehlt oder ist falsch.")).to_be_visible()
    dialog.get_by_label("Passwort des Workspace").fill("lang-genug-1")
    dialog.get_by_role("button", name="Stoppen").click()
    expect(facts.get_by_text("Gestoppt")).to_be_visible(timeout=PATIENCE_MS)
    # With the keyboard alone. A key that meets the button while it is drawn again is lost: a person presses again.
    start = facts.get_by_role("button", name="Starten")
    start.press("Enter")
    try:
        expect(start).to_be_hidden(timeout=PATIENCE_MS / 4)
    except AssertionError:
        start.press("Enter")
    expect(facts.get_by_text("Läuft", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    menu = facts.locator("details.menu")
    menu.locator("summary").press("Enter")
    _check(page, "a workspace")
    page.keyboard.press("Escape")
    expect(menu.get_by_role("button", name="Umbenennen")).to_be_hidden()
    expect(menu.locator("summary")).to_be_focused()
    _choose(facts, "Zurücksetzen")
    page.keyboard.press("Escape")
    expect(menu.locator("summary")).to_be_focused()
    # While the platform does not answer, the page says so; then it goes on by itself.
    page.route("**/api/events", lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("Die Plattform antwortet nicht.")).to_be_visible()
    page.unroute("**/api/events")
    expect(page.get_by_text("Die Plattform antwortet nicht.")).to_be_hidden()


def test_an_operator_sees_what_leaves_the_seats(english: Page, api: httpx.Client) -> None:
    assert api.put("/whitelist", json={"domains": []}).status_code == 200
    locked, recorded = _created(api, "pages-locked", "security"), _created(api, "pages-recorded", "logging")
    _run(locked, f"curl -sS https://{BLOCKED}/")
    _run(recorded, f"curl -sS https://{ALLOWED}/")
    chat = f"curl -sS https://{MODELS}/v1/chat/completions -H 'Content-Type: application/json' -d '{CHAT}'"
    _run(recorded, chat)
    page = english
    visit(page, f"{URL}/workspaces/{locked['id']}", page.get_by_role("heading", name="Proxy log"))
    denied = page.get_by_role("row", name=re.compile(f"Denied.*{BLOCKED}")).first
    _again_until(page.locator("#log"), denied)
    _check(page, "the proxy's log")
    page.goto(f"{URL}/workspaces/{recorded['id']}")
    domains = page.get_by_role("region", name="Recorded domains")
    _again_until(page.locator("#domains"), domains.get_by_text(ALLOWED, exact=True))
    domains.get_by_role("button", name=f"Allow: {ALLOWED}").click()
    expect(domains.get_by_text("on the whitelist")).to_be_visible()
    _again_until(page.locator("#conversations"), page.locator("details.exchange").first)
    page.locator("details.exchange summary").first.click()
    expect(page.get_by_text("What is a palindrome?").first).to_be_visible()
    page.get_by_role("button", name="Make the document").click()
    document = page.get_by_role("region", name="Document")
    expect(document).to_contain_text("# AI Session Documentation")
    expect(document).to_contain_text("What is a palindrome?")
    _check(page, "a recording")
    _picture(page, "recording", full_page=True)
    page.get_by_role("button", name="Take all over into the whitelist").click()
    expect(page.get_by_text(re.compile("The recorded domains are on|Left out"))).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("link", name="Whitelist").click()
    editor = page.get_by_label("Domains, one per line")
    expect(editor).to_have_value(re.compile(re.escape(ALLOWED)))
    before = editor.input_value()
    editor.fill(f"{before}\ncom")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".trouble").filter(has_text="com")).to_have_text(re.compile("^'com' would allow"))
    editor.fill(f"{before}\ndocs.example.org")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"{len(before.split()) + 1} domains")).to_be_visible()
    expect(editor).to_have_value(re.compile("docs.example.org"))
    _check(page, "the whitelist")
    _picture(page, "whitelist")
    for project in (locked, recorded):
        assert api.request("DELETE", f"/projects/{project['id']}").status_code == 200


# --- The participants -----------------------------------------------------------------------------------------------


def test_twenty_participants_register_at_once(browser: Browser, installation: Installation) -> None:
    with _reader(browser, "en-GB") as first:
        visit(first, f"{URL}/workshop", first.get_by_text(f"{PARTICIPANTS} seats are free."))
        _check(first, "registration")
        first.get_by_label("Your e-mail address").fill("nobody")
        first.get_by_role("button", name="Get my seat").click()
        expect(first.get_by_text("Please enter your name.")).to_be_visible()
        expect(first.get_by_label("Your name")).to_be_focused()
        pages = [first] + [first.context.new_page() for _ in range(PARTICIPANTS - 1)]
        for name, page in zip(NAMES, pages, strict=True):
            if page is not first:
                visit(page, f"{URL}/workshop", page.get_by_role("button", name="Get my seat"))
            page.get_by_label("Your name").fill(f"{name} Example")
            page.get_by_label("Your e-mail address").fill(f"{name.lower()}@example.com")
        for page in pages:
            page.evaluate("document.querySelector('#claim [type=submit]').click()")
        for page in pages:
            expect(page.locator("#seat h1")).to_have_text(re.compile(rf"{BASE} \d+"), timeout=PATIENCE_MS)
        assert len({page.locator("#seat h1").inner_text() for page in pages}) == PARTICIPANTS
        _check(first, "a seat")
        link = first.get_by_role("link", name="Open my workspace")
        with first.expect_popup() as opened:
            link.click()
        visit(opened.value, link.get_attribute("href") or "", opened.value.locator(".monaco-workbench"))
    with _reader(browser, "de-DE", viewport=PHONE) as late:
        visit(late, f"{URL}/workshop", late.get_by_text("Alle Plätze sind vergeben.", exact=False).first)
        late.get_by_label("Ihr Name").fill("Zu Spät")
        late.get_by_label("Ihre E-Mail-Adresse").fill("late@example.com")
        late.get_by_role("button", name="Platz holen").click()
        expect(late.get_by_role("alert").get_by_text("Alle Plätze sind vergeben.")).to_be_visible()
        late.get_by_label("Ihre E-Mail-Adresse").fill("GRETA@example.com")
        late.get_by_role("button", name="Platz holen").click()
        expect(late.get_by_text("Sie sind schon registriert; das ist Ihr Platz.")).to_be_visible()
        _check(late, "a seat on a phone")
        _picture(late, "seat-found-again")
        late.set_viewport_size({"width": 320, "height": 640})
        card, link = late.locator("#seat"), late.get_by_role("link", name="Meinen Workspace öffnen")
        left, right = (
            link.evaluate(
                f"(it, card) => it.getBoundingClientRect().{side} - card.getBoundingClientRect().{side}",
                card.element_handle(),
            )
            for side in ("left", "right")
        )
        assert left == pytest.approx(-right, abs=1), "the button is as far from both edges of its card"


# --- The workshop's admin -------------------------------------------------------------------------------------------


def test_who_runs_the_workshop_sees_and_steers_it(german: Page, browser: Browser) -> None:
    page = german
    visit(page, f"{URL}/workshop/admin", page.get_by_label("Workshop-Passwort"))
    page.get_by_label("Workshop-Passwort").fill("falsch")
    page.get_by_role("button", name="Anmelden").click()
    expect(page.get_by_text("Das stimmt nicht.", exact=False)).to_be_visible()
    _check(page, "a sign-in")
    page.get_by_label("Workshop-Passwort").fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    mine = page.get_by_role("row", name=re.compile("Ada Example"))
    expect(mine).to_be_visible()
    expect(mine.get_by_text("Aktiv", exact=True)).to_be_visible(timeout=PATIENCE_MS)  # somebody had it open just now
    seat = mine.get_by_role("rowheader").inner_text()
    _check(page, "the workshop's day")
    dialog = page.get_by_role("dialog")
    _choose(mine, "Zurücksetzen")
    dialog.get_by_role("button", name="Zurücksetzen").click()
    expect(page.get_by_text(f"{seat} ist zurückgesetzt.")).to_be_visible(timeout=PATIENCE_MS)
    expect(mine).to_be_visible()  # it is still theirs
    _choose(page.get_by_role("row", name=re.compile("Ben Example")), "Freigeben")
    dialog.get_by_role("button", name="Freigeben").click()
    expect(page.get_by_role("row", name=re.compile("Ben Example"))).to_have_count(0)
    page.get_by_text("Frühere Belegungen").click()
    expect(page.get_by_text("ben@example.com").first).to_be_visible()
    with page.expect_download() as sheet:
        page.get_by_role("link", name="Belegung als CSV").click()
    assert "chloe@example.com" in sheet.value.path().read_text(encoding="utf-8-sig")
    _picture(page, "workshop-admin")
    # Without passwords: those of the seats are tried in tests/api.
    page.get_by_role("button", name="Platzkarten drucken").click()
    dialog.get_by_label("Neue Passwörter erstellen").uncheck()
    dialog.get_by_role("button", name="Karten erstellen").click()
    cards = page.locator(".cards li")
    expect(cards).to_have_count(PARTICIPANTS)
    expect(cards.first.get_by_role("img", name=re.compile("QR-Code"))).to_be_visible()
    _check(page, "the cards")
    _picture(page, "seat-cards")
    page.get_by_role("button", name="Abmelden").click()
    expect(page.get_by_label("Workshop-Passwort")).to_be_visible()


def test_their_work_is_collected_and_the_workshop_ended(
    english: Page, api: httpx.Client, installation: Installation
) -> None:
    claims = api.get("/workshop/claims", headers={"X-Admin-Password": ADMIN_PASSWORD}).json()["claims"]
    ada = next(claim for claim in claims if claim["name"] == "Ada Example")
    _run({"id": ada["projectId"]}, "echo 'by Ada' > work.txt")
    page = english
    visit(page, f"{URL}/workshop/admin", page.get_by_label("Workshop password"))
    page.get_by_label("Workshop password").fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    panel = page.get_by_role("region", name="The end of the workshop")
    dialog = page.get_by_role("dialog")
    panel.get_by_role("button", name="End the workshop").click()
    expect(dialog.get_by_role("heading", name=f"remove {PARTICIPANTS} seats?")).to_be_visible()
    expect(dialog.get_by_text(re.compile(f"Not collected yet: .*{ada['projectName']}"))).to_be_visible()
    _check(page, "the end of the workshop, too early")
    dialog.get_by_role("button", name="End the workshop").click()
    expect(dialog.get_by_role("alert").get_by_text("is not collected")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()

    panel.get_by_role("button", name="Collect work").click()
    done = panel.get_by_text("All work is collected.")
    expect(panel.get_by_role("progressbar").or_(done)).to_be_visible()
    expect(done).to_be_visible(timeout=4 * PATIENCE_MS)
    collected = panel.get_by_role("listitem")
    expect(collected).to_have_count(PARTICIPANTS + 1)
    with page.expect_download() as archive:
        panel.get_by_role("link", name=f"Download: {ada['projectName']}", exact=True).click()
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(archive.value.path().read_bytes()))) as content:
        work = content.extractfile("workspace/work.txt")
        assert work is not None and work.read() == b"by Ada\n"
    _check(page, "the collected work")
    _picture(page, "workshop-collected", full_page=True)

    panel.get_by_role("button", name="End the workshop").click()
    expect(dialog.get_by_text("Not collected yet")).to_be_hidden()
    dialog.get_by_role("button", name="End the workshop").click()
    expect(panel.get_by_text("The workshop is over: its seats are removed.")).to_be_visible(timeout=4 * PATIENCE_MS)
    expect(page.get_by_role("row", name=re.compile("Ada Example"))).to_have_count(0)
    # Nothing of the seats is left but what was collected.
    left = [project for project in api.get("/projects/").json()["projects"] if project["group"] == DAY]
    assert [project["name"] for project in left] == [BASE]
    containers = docker.from_env().containers.list(all=True, filters={"label": f"atelier.group={DAY}"})
    assert [container.labels["atelier.workspace"] for container in containers] == [left[0]["id"]]
    folder = installation.state_dir / "archives" / f"workshop-{DAY}"
    entries = read_manifest(folder).values()
    assert len(entries) == PARTICIPANTS + 1
    assert not [entry.name for entry in entries if fault_of(folder, entry) or entry.file is None]


def test_the_day_is_over(english: Page, api: httpx.Client) -> None:
    page = english
    # All of a group at once: the base, and a seat that came later.
    (base,) = (project for project in api.get("/projects/").json()["projects"] if project["group"] == DAY)
    assert api.post(f"/projects/{base['id']}/clone", json={"count": 1}).status_code == 202
    visit(page, f"{URL}/?group={DAY}", _row(page, f"{BASE} 1").get_by_text("Running"))
    page.locator("#filter summary").click()
    page.get_by_role("button", name="Delete all").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Delete 2 workspaces?")).to_be_visible()
    dialog.get_by_label("Their password, if they have one").fill("lang-genug-1")
    dialog.get_by_role("button", name="Delete all").click()
    expect(dialog).to_be_hidden(timeout=4 * PATIENCE_MS)
    expect(page.get_by_text("No workspace is in this group.")).to_be_visible()
    assert not [project for project in api.get("/projects/").json()["projects"] if project["group"] == DAY]


# --- Helpers --------------------------------------------------------------------------------------------------------


@contextmanager
def _reader(browser: Browser, locale: str, **more: Any) -> Iterator[Page]:
    """A page for somebody of that language. No script of it may fail, and no part of it be forbidden to it."""
    context = browser.new_context(locale=locale, **{"viewport": {"width": 1280, "height": 800}, **more})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    context.close()
    assert not faults


def _row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def _choose(place: Locator, action: str) -> None:
    """Clicks an action in the menu of a workspace."""
    place.locator("details.menu summary").click()
    place.get_by_role("button", name=action).click()


def _write_notes(page: Page, notes: Locator, before: str, after: str) -> None:
    """Somebody else writes, too: neither loses anything unseen."""
    expect(notes).to_have_value(before)
    notes.fill(after)
    projects = page.request.get(f"{URL}/api/projects").json()["projects"]
    (id,) = [project["id"] for project in projects if project["projectName"] == BASE]
    page.request.put(f"{URL}/api/projects/{id}/notes", data={"notes": f"By Ben, not: {after}"})
    page.get_by_role("button", name="Speichern").click()
    expect(page.get_by_text("Jemand anderes hat inzwischen eine andere Fassung gespeichert.")).to_be_visible()
    expect(notes).to_have_value(after)
    page.get_by_role("button", name="Speichern").click()
    expect(page.get_by_text("Notizen gespeichert.")).to_be_visible()


def _again_until(panel: Locator, awaited: Locator) -> None:
    """Asks for a recording again, as a person does, until the recorder has written it down."""
    for _ in range(20):
        panel.get_by_role("button", name="Look again").click()
        try:
            expect(awaited).to_be_visible(timeout=2000)
        except AssertionError:
            continue
        return
    expect(awaited).to_be_visible()


def _check(page: Page, what: str) -> None:
    """No serious finding of axe-core's."""
    found = Axe().run(page).response["violations"]
    serious = [finding for finding in found if finding["impact"] in ("serious", "critical")]
    assert not serious, f"{what}: " + "; ".join(f"{one['id']} {one['nodes'][0]['html']}" for one in serious)


def _picture(page: Page, name: str, *, full_page: bool = False) -> None:
    OUT.mkdir(exist_ok=True)
    page.screenshot(path=OUT / f"{name}.png", full_page=full_page)


def _created(api: httpx.Client, name: str, mode: str, **more: str) -> dict[str, Any]:
    wanted = {"projectName": name, "projectType": "empty", "proxyMode": mode, **more}
    answer = api.post("/projects/create", json=wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["project"])


def _run(project: dict[str, Any], command: str) -> None:
    """A command in the seat; that it is refused is what some of them are for."""
    (container,) = docker.from_env().containers.list(filters={"label": f"atelier.workspace={project['id']}"})
    container.exec_run(["timeout", "30", "bash", "-c", command], workdir="/workspace")
