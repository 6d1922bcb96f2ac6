"""A fresh machine becomes a running workshop, as seen by the operator who ran `./atelier up`, and by a participant."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.installed import ROOT, Installation, Seat
from tests.planted_secrets import holders
from tests.waiting import eventually

from .conftest import (
    PATIENCE_MS,
    PORT,
    SEATS,
    changed_count,
    enter,
    in_terminal,
    seat_of,
    started,
    visit,
    workspace_of,
    write_in,
)


def test_up_prints_every_seat_with_its_password_once(installation: Installation) -> None:
    for seat in installation.seats():
        lines = installation.output.splitlines()
        line = next(line for line in lines if line.startswith(f"{seat.name} ") and f" {seat.url} " in line)
        assert seat.password in line
        assert "running" in line
    assert len(installation.seats()) == SEATS + 1  # the base, too


def test_passwords_stand_in_one_file_that_only_root_reads(installation: Installation) -> None:
    assert stat.S_IMODE(installation.sheet.stat().st_mode) == 0o600
    assert holders(installation.state_dir, [seat.password for seat in installation.seats()]) == []


@pytest.mark.parametrize("number", range(1, SEATS + 1))
def test_every_seat_opens_in_a_browser(installation: Installation, browser: Browser, number: int) -> None:
    page = _signed_in(browser, seat_of(installation, number))
    expect(page.locator(".monaco-workbench")).to_be_visible(timeout=PATIENCE_MS)
    page.context.close()


def test_a_command_runs_in_the_terminal_of_a_seat(installation: Installation, browser: Browser, tmp_path: Path) -> None:
    page = _signed_in(browser, seat_of(installation, 1))
    # The shell's answer becomes a file's name, which the explorer shows: seen by a person, and read by a test.
    command = "touch answer-$((6 * 7)).txt; git log --oneline; id\n"
    in_terminal(page, command, page.get_by_role("treeitem", name="answer-42.txt"))
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    page.screenshot(path=out / "seat.png")
    page.context.close()


def test_what_one_seat_writes_no_other_has(installation: Installation, browser: Browser) -> None:
    write_in(seat_of(installation, 1), "only-mine.txt")
    for number, seen in ((1, 1), (2, 0)):
        page = _signed_in(browser, seat_of(installation, number))
        expect(page.get_by_role("treeitem", name="only-mine.txt")).to_have_count(seen)
        page.context.close()


def test_a_wrong_password_is_refused(installation: Installation, browser: Browser) -> None:
    page = browser.new_page()
    seat = seat_of(installation, 2)
    visit(page, seat.url, page.get_by_placeholder("PASSWORD"))
    page.get_by_placeholder("PASSWORD").fill(seat_of(installation, 3).password)
    page.get_by_role("button", name="SUBMIT").click()
    expect(page.get_by_text("Incorrect password")).to_be_visible()
    page.close()


def test_an_unknown_seat_gets_a_page_that_says_so(installation: Installation, browser: Browser) -> None:
    page = browser.new_page()
    url = seat_of(installation, 1).url
    answer = page.goto(url.replace(url.split("//")[1].split(".")[0], "0123456789ab"))
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("no such workspace", exact=False)).to_be_visible()
    page.close()


def test_a_seat_that_sleeps_starts_when_it_is_opened(
    installation: Installation, browser: Browser, tmp_path: Path
) -> None:
    seat = seat_of(installation, 3)
    stopped = _let_sleep(installation, workspace_of(seat))
    assert stopped.returncode == 0, stopped.stdout[-3000:]
    table = installation.state_dir / "gateway" / "asleep.map"
    eventually(lambda: " asleep" in table.read_text(), "the gateway knows that it sleeps")
    page = browser.new_context(locale="de-DE").new_page()
    page.goto(seat.url)
    # Both by one look: the page goes as soon as the IDE answers.
    heading = page.get_by_role("heading", name="Dieser Workspace startet")
    expect(page.locator("body").filter(has=heading).filter(has=page.get_by_role("progressbar"))).to_be_visible()
    page.screenshot(path=tmp_path / "waking.png")
    # The page opens the IDE by itself, unless Chromium cancels that because the seat's network interface appears.
    password = page.get_by_placeholder("PASSWORD")
    try:
        expect(password).to_be_visible(timeout=PATIENCE_MS / 2)
    except AssertionError:
        visit(page, seat.url, password)
    assert page.url.startswith(seat.url)
    page.context.close()
    eventually(lambda: table.read_text() == "", "the gateway knows that it runs")


def test_five_seats_that_sleep_start_at_once(installation: Installation) -> None:
    """Five visitors wake their seats at once through the gateway: each sees the page about it, then the IDE."""
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}/api", timeout=120) as api:
        made = api.post("/projects/create", json={"projectName": "fifth", "projectType": "empty"})
        assert made.status_code == 201, made.text
        fifth = made.json()["project"]["id"]
        ids = [*(workspace_of(seat) for seat in installation.seats()), fifth]
        assert len(ids) == 5
        with ThreadPoolExecutor(len(ids)) as crowd:
            for stopped in crowd.map(lambda id: _let_sleep(installation, id), ids):
                assert stopped.returncode == 0, stopped.stdout[-3000:]
            table = installation.state_dir / "gateway" / "asleep.map"
            eventually(lambda: table.read_text().count(" asleep") == len(ids), "the gateway knows that they sleep")
            met = list(crowd.map(_come_back, ids))
        assert [pages[0] for pages in met] == ["starting"] * len(ids)
        assert [_opened(id) for id in ids] == ["IDE"] * len(ids)

        def statuses() -> set[str]:
            projects = api.get("/projects/").json()["projects"]
            return {project["status"] for project in projects if project["id"] in ids}

        eventually(lambda: statuses() == {"running"}, "the list says that they run")
        assert api.request("DELETE", f"/projects/{fifth}").status_code == 200


def test_a_second_up_changes_nothing(installation: Installation) -> None:
    before = (started(), installation.sheet.read_bytes())
    again = installation.run("up")
    assert again.returncode == 0, again.stdout[-3000:]
    assert changed_count(again.stdout) == 0, again.stdout[-3000:]
    assert "the platform is as the last run left it" in again.stdout
    assert not [seat.password for seat in installation.seats() if seat.password in again.stdout]
    assert (started(), installation.sheet.read_bytes()) == before


def test_a_changed_setting_runs_only_what_reads_it(installation: Installation) -> None:
    gateway = started()
    changed = installation.run("up", "-e", "atelier_max_workspaces_per_user=77")
    assert changed.returncode == 0, changed.stdout[-3000:]
    told = re.search(r"but those of (.*): a variable changed", changed.stdout)
    assert told is not None, changed.stdout
    plays = {"Docker", "Networks and firewall", "Images", "Git", "Gateway", "Egress (squid)", "Egress (recorder)"}
    assert {*told[1].split(", ")} == plays
    # Only the API is another container now.
    assert len({*started()} - {*gateway}) == 1
    config = httpx.get(f"http://127.0.0.1:{PORT}/api/config", timeout=60).json()["config"]
    assert config["limits"]["maxWorkspacesPerUser"] == 77


def test_a_rehearsal_is_a_report_for_ci(installation: Installation, tmp_path: Path) -> None:
    told, failures = _rehearsed(installation, 2, tmp_path)
    assert len(failures) == 6
    assert failures.keys() >= {"made", "opened", "fast"}
    # A busy machine may be slow, and then it is a no-go.
    failed = [name for name, message in failures.items() if message is not None]
    assert failed in ([], ["fast"]), failures
    assert (told["successful"], told["result"]["verdict"]["go"]) == (not failed, not failed)


def test_a_no_go_is_a_failure_in_the_report_and_an_exit_code(installation: Installation, tmp_path: Path) -> None:
    """More seats than the quotas allow: none is made."""
    told, failures = _rehearsed(installation, 500, tmp_path)
    assert (told["successful"], told["result"]["verdict"]["go"]) == (False, False)
    assert [name for name, message in failures.items() if message is not None] == ["room"]
    assert "500" in (failures["room"] or "")
    assert "No-go" in told["error"]["message"]


def _rehearsed(installation: Installation, seats: int, folder: Path) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The output of `play workshop_rehearse`, and the failure's message for each case of its JUnit report, which the
    exit code agrees with."""
    report = folder / "rehearsal.xml"
    order = ("-e", f"rehearse_seats={seats}", "-e", f"rehearse_junit={report}")
    done = installation.run("play", "workshop_rehearse", "--json", *order)
    assert done.returncode in (0, 2), done.stderr[-3000:]
    suite = ElementTree.parse(report).getroot()  # noqa: S314 - it is ours
    failures = {
        str(case.get("name")): None if (failure := case.find("failure")) is None else failure.get("message", "")
        for case in suite
    }
    failed = sum(message is not None for message in failures.values())
    assert done.returncode == (2 if failed else 0), failures
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", str(len(failures)), str(failed))
    return json.loads(done.stdout), failures


def _let_sleep(installation: Installation, id: str) -> subprocess.CompletedProcess[str]:
    return installation.run("play", "workspace_stop", "-e", f"workspace_id={id}", "-e", "workspace_stop_reason=idle")


def _come_back(id: str) -> list[str]:
    """The pages that a visitor of the seat gets until the IDE answers."""
    met: list[str] = []
    eventually(lambda: met.append(_opened(id)) or met[-1] == "IDE", "the IDE")  # type: ignore[func-returns-value]
    return met


def _opened(id: str) -> str:
    """The kind of page that a browser gets at the seat's address."""
    asked = {"Host": f"{id}.localhost:{PORT}", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = httpx.get(f"http://127.0.0.1:{PORT}/", headers={**asked, "Accept": "text/html"}, timeout=60)
    if answer.status_code == 503 and "This workspace is starting" in answer.text:
        return "starting"
    # It leads to its sign-in, or to its project where there is no password.
    assert (answer.status_code, answer.headers.get("location", "")[:2]) == (302, "./"), answer.text
    return "IDE"


def _signed_in(browser: Browser, seat: Seat) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    enter(page, seat.url, seat.password)
    return page
