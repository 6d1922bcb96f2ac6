"""Programs that the platform runs in seats, some of which hold them up, answer in their place, or flood them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.waiting import eventually

from .conftest import ADMIN_PASSWORD, GROUP, PATIENCE, Platform, Seat, Seats, seats_of

ADMIN = {"X-Admin-Password": ADMIN_PASSWORD}
# Seconds for an answer about seats while one of them is hostile: two for the seat, the rest for a loaded machine.
AT_ONCE = 10.0
# The same for a change of a seat by a playbook.
SOON = 150.0
_NAMES = "timeout git cat sh env find ss curl df rm restart-ide load-git-credential update-ca-certificates"


def _instead(program: str) -> str:
    """A program in place of each that the platform might run, first in the user's own PATH."""
    return (
        f"mkdir -p ~/.local/bin; for name in {_NAMES}; do printf '#!/bin/bash\\n{program}\\n' >~/.local/bin/$name;"
        " chmod +x ~/.local/bin/$name; done"
    )


# Finds whatever the platform runs in the seat as the seat's user, and does something to it.
_WATCH = """
import os, signal, threading
own, seen = os.getsid(0), set()
def stop(pid):
    os.kill(pid, signal.SIGSTOP)
def flood(pid):
    output = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
    threading.Thread(target=pour, args=(output,), daemon=True).start()
def pour(output):
    try:
        while True:
            os.write(output, b"0" * 65536)
    except OSError:
        os.close(output)
while True:
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if pid in seen or os.getsid(pid) == own:
                continue
            if b"ATELIER_RUN=" in open(f"/proc/{pid}/environ", "rb").read():
                seen.add(pid)
                ACT(pid)
        except OSError:
            pass
"""
_STOP = _WATCH.replace("ACT", "stop")
_FLOOD = _WATCH.replace("ACT", "flood")


def _leave_python(seat: Seat, text: str) -> None:
    seat.run(f"cat >/tmp/watch.py <<'END'\n{text}\nEND")
    seat.leave_running("exec python3 /tmp/watch.py")


def _pipe_in_git(seat: Seat) -> None:
    seat.run("mkfifo /tmp/pipe; git -C /workspace config include.path /tmp/pipe")


ATTACKS: dict[str, Callable[[Seat], object]] = {
    "programs that never end": lambda seat: seat.run(_instead("exec sleep inf")),
    "programs that print without end": lambda seat: seat.run(_instead("exec cat /dev/zero")),
    "a pipe in git's configuration": _pipe_in_git,
    "stopped programs": lambda seat: _leave_python(seat, _STOP),
    "output without end": lambda seat: _leave_python(seat, _FLOOD),
}


def _timed(platform: Platform, path: str, **headers: str) -> tuple[float, Any]:
    begin = time.monotonic()
    answer = platform.api.get(path, headers=headers, timeout=60)
    return time.monotonic() - begin, answer


@dataclass(frozen=True)
class Attacked:
    """Seats with some work: an honest one, one for each attack, and one whose git says odd things."""

    honest: Seat
    strangers: dict[str, Seat]
    odd: Seat


@pytest.fixture(scope="module")
def attacked(platform: Platform) -> Iterator[Attacked]:
    with seats_of(platform) as seats:
        honest, odd, *others = seats.several(2 + len(ATTACKS), group=GROUP)
        for each in (honest, *others):
            each.run("echo done >/workspace/work.txt")
        odd.run(
            "cd /workspace; git config filter.f.required true;"
            " git config filter.f.clean \"$(printf '\\033[2J\\u202e')false\";"
            " echo '* filter=f' >.gitattributes; git checkout --quiet -b \"$(printf 'a\\u202eb')\"; echo a >work.txt"
        )
        strangers = dict(zip(ATTACKS, others, strict=True))
        for name, attack in ATTACKS.items():
            attack(strangers[name])
        yield Attacked(honest, strangers, odd)


@pytest.fixture(scope="module")
def collecting(platform: Platform, attacked: Attacked) -> str:
    """The job of a collect. It takes as long as a seat can hold it up, 150 seconds: tests about other seats run
    meanwhile."""
    begun = platform.api.post("/api/workshop/collect")
    assert begun.status_code == 202, begun.text
    return str(begun.json()["jobId"])


@pytest.fixture(scope="module")
def collected(platform: Platform, collecting: str) -> dict[str, dict[str, Any]]:
    """Waits for the end of a collect; returns its entry for each seat by id."""
    eventually(lambda: _ended(platform, collecting), "the end of the collect", 2 * PATIENCE)
    return {entry["projectId"]: entry for entry in platform.api.get("/api/workshop/collect").json()["seats"]}


def test_what_is_asked_of_seats_is_answered_in_time(platform: Platform, attacked: Attacked) -> None:
    honest, strangers = attacked.honest, attacked.strangers

    def known() -> bool:
        took, answer = _timed(platform, "/api/workshop/seats", **ADMIN)
        assert answer.status_code == 200, answer.text
        assert took < AT_ONCE
        return {entry["projectId"]: entry for entry in answer.json()["seats"]}[honest.id]["lastCommit"] is not None

    eventually(known, "the honest seat's commit", PATIENCE)
    for name, stranger in strangers.items():
        took, answer = _timed(platform, f"/api/projects/{stranger.id}/ports")
        assert took < AT_ONCE, name
        # It is this seat's error, or it is right.
        assert answer.status_code == 200 or answer.json()["code"] == "ENGINE_ERROR", (name, answer.text)
    took, answer = _timed(platform, f"/api/projects/{honest.id}/ports")
    assert (answer.status_code, took < AT_ONCE) == (200, True), answer.text


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize(
    "trick",
    [
        "rm -f /dev/shm/workspace-ide.pid; mkfifo /dev/shm/workspace-ide.pid",
        _instead("exec sleep inf"),
    ],
)
def test_a_password_of_others_is_set_while_one_seat_holds_its_own_up(
    platform: Platform, seat: Seats, trick: str
) -> None:
    honest, stranger = seat.several(2, group=GROUP)
    stranger.run(trick)
    begin = time.monotonic()
    body = {"newPasswords": True, "projectIds": [honest.id, stranger.id]}
    answer = platform.api.post("/api/workshop/cards", json=body, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - begin < SOON
    cards = {card["projectId"]: card for card in answer.json()["cards"]}
    assert cards[honest.id]["password"], cards
    assert cards[stranger.id].get("password") or cards[stranger.id].get("error"), cards


@pytest.mark.usefixtures("collecting")
def test_root_runs_nothing_of_the_seat_s_user(platform: Platform, seat: Seats) -> None:
    """A seat that is recorded trusts the recorder's authority, which root takes into its bundle at the start."""
    stranger = seat(proxyMode="logging")
    stranger.run(_instead("id >>/workspace/who; exec sleep inf"))
    assert platform.api.post(f"/api/projects/{stranger.id}/checkpoint").status_code == 200
    stranger.run("rm -f /usr/local/share/ca-certificates/atelier-recorder.crt", user="root")
    assert platform.api.post(f"/api/projects/{stranger.id}/checkpoint").status_code == 200
    answer = platform.api.post(f"/api/projects/{stranger.id}/reset")
    assert answer.status_code == 200, answer.text
    # The stranger's own cat is another program by now.
    who = stranger.run("/bin/cat /workspace/who 2>/dev/null; true", user="root")
    assert "uid=0" not in who
    # It was taken in again all the same.
    assert stranger.try_run("test -e /etc/ssl/certs/atelier-recorder.pem", user="root").returncode == 0


def test_what_a_seat_holds_is_collected(attacked: Attacked, collected: dict[str, dict[str, Any]]) -> None:
    honest = collected[attacked.honest.id]
    assert honest["file"] and not honest["error"], collected
    for name, stranger in attacked.strangers.items():
        assert collected[stranger.id]["file"], (name, collected)


def test_what_a_seat_says_of_its_work_carries_no_controls(
    attacked: Attacked, collected: dict[str, dict[str, Any]]
) -> None:
    assert collected[attacked.odd.id]["file"], collected
    text = str([list(entry.values()) for entry in collected.values()])
    assert not [unsafe for unsafe in ("\\x1b", "\\u202e", "\x1b", "\u202e") if unsafe in text], text


def _ended(platform: Platform, job_id: str) -> dict[str, Any] | None:
    job: dict[str, Any] = platform.api.get(f"/api/jobs/{job_id}").json()["job"]
    return job if job["finishedAt"] else None
