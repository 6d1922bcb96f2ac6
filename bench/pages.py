"""The pages' figures: the time to show the operator's page, and the cost of idle open pages."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil
from playwright.sync_api import sync_playwright

from .report import Report

CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_OPEN_PAGES = 100
_IDLE_SECONDS = 10
_VISITS = 5


def measure_pages(report: Report, url: str, pid: int, rows: int) -> None:
    """Measures the pages of the API at this address; ``rows`` is the number of workspaces in its database."""
    soon = seconds_until_interactive(url, rows)
    report.add(f"page /: {rows} workspaces, interactive", f"{soon:.2f} s", "-", "at most 1 s", soon <= 1)
    share = _idle_share(url, pid)
    what = f"events: {_OPEN_PAGES} open pages, idle"
    report.add(what, f"{share * 100:.1f} % of a core", "-", "at most 5 %", share <= 0.05)


def seconds_until_interactive(url: str, rows: int) -> float:
    """Seconds from the request until scripts have run and a button opens its dialog; nothing is cached."""
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_OPTIONS)
        for _ in range(_VISITS):
            context = browser.new_context()
            page = context.new_page()
            begin = time.perf_counter()
            page.goto(url, wait_until="domcontentloaded")
            # By selectors: to find a role, Playwright would ask for the name of each of the rows' buttons.
            page.locator("button[data-dialog=create]").click()
            page.locator("dialog[open]").wait_for()
            times.append(time.perf_counter() - begin)
            assert page.locator("#workspaces tbody tr").count() == rows
            context.close()
        browser.close()
    return statistics.median(times)


def _idle_share(url: str, pid: int) -> float:
    """The share of a core that the API takes while so many pages follow and nothing happens."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    with ExitStack() as held:
        for _ in range(_OPEN_PAGES):
            held.enter_context(_following(host, int(port)))
        time.sleep(1)
        before = cpu_seconds(pid)
        time.sleep(_IDLE_SECONDS)
        return (cpu_seconds(pid) - before) / _IDLE_SECONDS


@contextmanager
def _following(host: str, port: int) -> Iterator[None]:
    with closing(socket.create_connection((host, port), timeout=60)) as connection:
        connection.sendall(f"GET /api/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        reader = threading.Thread(target=_read_on, args=(connection,), daemon=True)
        reader.start()
        yield
        connection.shutdown(socket.SHUT_RDWR)
        reader.join(10)


def _read_on(connection: socket.socket) -> None:
    try:
        while connection.recv(4096):
            pass
    except OSError:
        return


def cpu_seconds(pid: int) -> float:
    """The CPU time of all the process's threads, since its start."""
    return sum(psutil.Process(pid).cpu_times()[:2])
