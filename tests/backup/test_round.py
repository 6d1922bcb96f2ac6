"""Backups during use, a lost machine, a restore, and failures in between."""

from __future__ import annotations

import json
import random
import subprocess
import time
from datetime import datetime, timedelta

import docker
import pytest

from tests.installed import Installation
from tests.pauses import followed_pauses
from tests.waiting import eventually

from .workshop import CANARY, GROWING, INSTANCE, Backups

# A restore is a first run, and takes its turn after other checkouts' runs.
pytestmark = pytest.mark.timeout(3000)

# Writes all the time: a database, and two files in their order.
BUSY = r"""
cd /workspace && i=0
while :; do i=$((i+1)); echo "$i" > first; echo "$i" > second; head -c 200000 /dev/urandom > blob; done
"""
WORK = r"""
cd /workspace && echo "mine $(hostname)" > work && rm -f README.md
mkdir -p "$HOME/.ssh" && echo token > "$HOME/.ssh/id_rsa"
chmod 600 "$HOME/.ssh/id_rsa" && git add -A && git commit -qm work && git push -q
ln -sf work link && mkdir -p empty
"""


def figures(**seconds: float) -> None:
    print(*(f"{name}: {value:.1f} s" for name, value in seconds.items()), sep="\n")


def test_a_busy_workshop_is_saved_without_a_noticeable_pause(backups: Backups) -> None:
    for number in (1, 2, 3):
        backups.inside(backups.seat(f"Workshop {number}"), WORK)
    claimed = backups.call("POST", "/api/workshop/claim", {"name": "Ada Lovelace", "email": "ada@example.org"})
    assert claimed["password"]
    row = next(row for row in backups.rows("workspaces") if row["name"] == "Workshop 3")
    guarded = {"subdomain": "demo", "port": 3000, "basicAuth": {"user": "guest", "password": "guests-only"}}
    backups.call("POST", f"/api/projects/{row['id']}/aliases", guarded)
    backups.call("POST", f"/api/projects/{row['id']}/checkpoint")
    backups.call("PUT", "/api/whitelist", {"domains": ["everybody.example"]})
    backups.call("PUT", "/api/whitelist", {"domains": ["workshop.example"], "group": "workshop"})
    password = next(seat.password for seat in backups.installation.seats() if seat.name == "Workshop 3")
    backups.call("POST", f"/api/projects/{row['id']}/stop", {"password": password})
    recordings = backups.installation.state_dir / "recordings" / "aaaaaaaaaaaa"
    recordings.mkdir(parents=True, exist_ok=True)
    (recordings / "one.jsonl").write_text("{}\n")
    busy = backups.seat("Workshop 2")
    busy.exec_run(["sh", "-c", BUSY], user="coder", detach=True)
    with followed_pauses(INSTANCE) as pauses:
        first = backups.back_up()
        second = backups.back_up()
    assert 0 < pauses.longest < 1
    figures(first=first, second=second, pause=pauses.longest)
    assert not docker.from_env().images.list(f"{INSTANCE}/snapshot")
    drift = backups.installation.run("play", "reconcile", "--json")
    assert json.loads(drift.stdout)["result"]["drift"] == []


def test_a_backup_that_is_killed_is_made_by_the_next(backups: Backups) -> None:
    dice = random.Random(5)  # noqa: S311 - moments
    met = sum(backups.killed(dice.uniform(2, 9), "backup", str(backups.repository)) for _ in range(4))
    assert met
    with followed_pauses(INSTANCE) as pauses:
        backups.back_up()
    assert pauses.longest < 1
    assert all(seat.status in ("running", "exited") for seat in backups.seats())
    assert not docker.from_env().images.list(f"{INSTANCE}/snapshot")


def test_a_scheduled_backup_is_a_job_with_a_metric(backups: Backups) -> None:
    soon = (datetime.now() + timedelta(minutes=4)).strftime("%H:%M")
    words = ("-e", json.dumps({"atelier_backup_times": [soon], "atelier_backup_repository": str(backups.repository)}))
    up = backups.run("up", *words)
    assert up.returncode == 0, up.stdout[-3000:]

    def ended() -> bool:
        jobs = [job for job in backups.call("GET", "/api/jobs")["jobs"] if job["operation"] == "backup"]
        return bool(jobs) and jobs[0]["state"] not in ("pending", "running") and jobs[0]

    job = eventually(ended, "the scheduled backup", 480)
    assert job["state"] == "successful", job
    metrics = backups.call("GET", "/metrics")
    found = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("atelier_backup"))
    assert (float(found["atelier_backup_configured"]), float(found["atelier_backup_last_failed"])) == (1, 0)
    assert time.time() - float(found["atelier_backup_last_success_timestamp_seconds"]) < 600
    lines = [json.loads(line) for line in (backups.installation.state_dir / "audit/audit.log").read_text().splitlines()]
    assert [line for line in lines if line["what"] == "backup" and line["job"] == job["id"]]
    # As it was, for what follows.
    assert backups.run("up").returncode == 0


def test_a_lost_machine_comes_back(backups: Backups, installation: Installation) -> None:
    busy = backups.seat("Workshop 2")
    busy.restart(timeout=0)
    backups.inside(busy, "echo whole > /workspace/second")
    before = backups.picture()
    assert "workshop-1" in str(before["branches"])
    backups.back_up()
    backups.purge()
    assert not backups.seats()
    installation.sheet.unlink(missing_ok=True)
    # Early, and in the last part, when its files are in place.
    early = random.Random(7).uniform(5, 60)  # noqa: S311 - a moment
    for moment in (early, backups.loads_images, backups.creates_workspaces):
        assert backups.killed(moment, "restore", str(backups.repository)), moment
    took = backups.restore()
    figures(restore=took)
    installation.sheet.write_text(before["sheet"])  # outside of the state folder, by this test's settings
    after = backups.picture()
    for part, had in before.items():
        assert (after[part][: len(had)] if part in GROWING else after[part]) == had, part
    seat = installation.seats()[1]
    shown = subprocess.run(
        # No client accepts a certificate for *.localhost.
        ["curl", "-s", "--insecure", "-o", "/dev/null", "-w", "%{http_code}", seat.url],
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "302"
    # The seats work: they push, and are copied.
    backups.inside(
        backups.seat("Workshop 1"), "cd /workspace && echo more >> work && git commit -qam more && git push -q"
    )
    again = installation.run("up")
    assert again.returncode == 0, again.stdout[-3000:]
    assert installation.run("play", "reconcile", "--json").returncode == 0


def test_what_is_there_is_not_overwritten(backups: Backups) -> None:
    before = backups.rows("workspaces")
    refused = backups.run("restore", str(backups.repository))
    assert refused.returncode != 0 and "--replace" in refused.stdout, refused.stdout[-2000:]
    pack = max((backups.repository / "data").glob("*/*"), key=lambda found: found.stat().st_size)
    content = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(content[: len(content) // 2] + b"\0" * 64 + content[len(content) // 2 + 64 :])
    damaged = backups.run("restore", str(backups.repository), "--replace")
    assert damaged.returncode != 0 and "is damaged" in damaged.stdout, damaged.stdout[-2000:]
    pack.write_bytes(content)
    assert backups.rows("workspaces") == before
    assert all(seat.status in ("running", "exited", "created") for seat in backups.seats())
    figures(replace=backups.restore("--replace"))
    assert backups.rows("workspaces") == before


def test_no_secret_is_left_anywhere(backups: Backups) -> None:
    words = ["grep", "-rl", "--exclude-dir=repository", CANARY, str(backups.folder)]
    found = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    assert sorted(found) == sorted(str(backups.folder / name) for name in ("key", "environment"))
    stored = subprocess.run(
        ["grep", "-rlE", f"{CANARY}|Ada Lovelace", str(backups.repository)], capture_output=True, check=False
    )
    assert stored.stdout == b""
