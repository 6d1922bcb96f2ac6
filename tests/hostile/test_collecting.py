"""Hostile seats at the end of the day: their content blocks nobody's collect, and no work is lost."""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import docker
from atelier.workshop.archives import open_archive

from tests.installed import ROOT

from .conftest import PATIENCE, Platform, Seat, Seats

MIB, ENTRIES, SECONDS = 64, 3000, 60


def collected(platform: Platform, folder: Path, seats: list[Seat]) -> dict[str, dict[str, Any]]:
    """The manifest's entries by id, after a collect with low limits, as a subcommand of the front door."""
    ids = json.dumps({"workshop_ids": [seat.id for seat in seats], "workshop_report_only": True})
    limits = {
        "atelier_archive_max_mib": MIB,
        "atelier_archive_max_entries": ENTRIES,
        "atelier_archive_max_seconds": SECONDS,
    }
    run = platform.installation.run(
        *("play", "workshop_collect", "-e", ids, "-e", json.dumps(limits), "-e", f"workshop_archive={folder}")
    )
    assert run.returncode == 0, run.stdout
    document = json.loads((folder / "manifest.json").read_text())
    return {entry["id"]: entry for entry in document["seats"]}


def content(folder: Path, entry: dict[str, Any], path: str) -> bytes:
    with open_archive(folder / entry["file"]) as data, tarfile.open(fileobj=data, mode="r|") as archive:
        for found in archive:
            if found.name == f"workspace/{path}":
                file = archive.extractfile(found)
                assert file is not None
                return file.read()
    raise AssertionError(f"{path} is not in {entry['file']}")


def test_a_seat_that_never_ends_fails_alone(platform: Platform, seat: Seats, tmp_path: Path) -> None:
    honest, sparse, many, links = seat.several(4)
    honest.run("echo 'work of a day' >/workspace/work.txt")
    sparse.run("truncate -s 15T /workspace/x || truncate -s 1G /workspace/x; echo y >/workspace/y")
    many.run(f"mkdir /workspace/many; cd /workspace/many; seq {ENTRIES + 1000} | xargs touch")
    links.run(
        f'cd /workspace; echo 1 >a; python3 -c \'import os; [os.link("a", f"l{{n}}") for n in range({ENTRIES})]\''
    )

    begin = time.monotonic()
    entries = collected(platform, tmp_path / "archive", [honest, sparse, many, links])
    assert time.monotonic() - begin < PATIENCE
    said = {each.name: entries[each.id]["error"] for each in (honest, sparse, many, links)}
    assert said[honest.name] is None
    assert said[sparse.name] == (
        f"'{sparse.name}' was not archived: its /workspace has more than {MIB} MiB, including holes in sparse files"
        " (atelier_archive_max_mib)."
    )
    for each in (many, links):
        assert said[each.name] == (
            f"'{each.name}' was not archived: its /workspace has more than {ENTRIES} files and folders"
            " (atelier_archive_max_entries)."
        )
    assert content(tmp_path / "archive", entries[honest.id], "work.txt") == b"work of a day\n"
    # Nobody stays paused or locked, no half of an archive stays.
    for each in (honest, sparse, many, links):
        assert each.container.status == "running"
    assert not list((tmp_path / "archive").glob(".*"))
    stopped = platform.api.post(f"/api/projects/{sparse.id}/stop", json={"password": sparse.password})
    assert stopped.status_code == 200, stopped.text

    # The participant fixes the fault, and the next collect has the work.
    many.run("rm -r /workspace/many")
    assert collected(platform, tmp_path / "archive", [many])[many.id]["error"] is None


def test_a_checkpoint_of_a_file_that_is_large_only_by_name_is_refused(platform: Platform, seat: Seats) -> None:
    stranger = seat()
    stranger.run("truncate -s 1G /workspace/x")
    begin = time.monotonic()
    run = platform.installation.run(
        *("play", "workspace_checkpoint", "-e", f"workspace_id={stranger.id}", "-e", f"atelier_archive_max_mib={MIB}")
    )
    assert run.returncode != 0
    assert f"'{stranger.name}' cannot be copied" in run.stdout and "atelier_archive_max_mib" in run.stdout
    assert time.monotonic() - begin < PATIENCE
    left = docker.APIClient(version="auto").images(filters={"label": f"atelier.snapshot={stranger.id}"})
    assert left == []
    assert stranger.container.status == "running"


def test_work_that_is_saved_while_seats_are_removed_is_not_lost(
    platform: Platform, seat: Seats, tmp_path: Path
) -> None:
    """Somebody saves from the moment in which the removal begins; another one stops what looks for newer files."""
    quiet, stopper, writer = seat.several(3)
    folder = tmp_path / "archive"
    for each in (quiet, stopper, writer):
        each.run("echo begun >/workspace/diary")
    collected(platform, folder, [quiet, stopper, writer])
    stopper.leave_running("while :; do pkill -STOP -x find; pkill -STOP -x timeout; done")
    ids = json.dumps({"workshop_ids": [quiet.id, stopper.id, writer.id], "confirm": True})
    variables = f"@{platform.installation.variables}"
    command = [str(ROOT / "atelier"), "play", "workshop_teardown", "-e", variables, "-e", ids]
    torn = subprocess.Popen(
        [*command, "-e", f"workshop_archive={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert torn.stdout is not None
    saved: list[str] = ["begun"]
    over, container = threading.Event(), writer.container.id

    def write() -> None:
        for number in range(10_000):
            if over.is_set():
                return
            line = ["docker", "exec", container, "sh", "-c", f"echo {number} >>/workspace/diary"]
            if subprocess.run(line, capture_output=True, check=False, timeout=PATIENCE).returncode == 0:
                saved.append(str(number))

    diary = threading.Thread(target=write)
    said = ""
    for shown in torn.stdout:
        said += shown
        if shown.split()[:1] == ["ok"] and "Check that the work is collected" in shown:
            diary.start()
    torn.wait()
    over.set()
    diary.join()
    left = {workspace["id"] for workspace in platform.api.get("/api/projects").json()["projects"]}
    assert not left & {quiet.id, stopper.id}, said
    if writer.id in left:
        assert torn.returncode != 0 and "NOT_COLLECTED" in said and writer.name in said
        assert writer.container.status == "running"
        assert writer.run("cat /workspace/diary").split() == saved
    else:
        entry = json.loads((folder / "manifest.json").read_text())
        (file,) = (each for each in entry["seats"] if each["id"] == writer.id)
        kept = content(folder, file, "diary").decode().split()
        # One whose end nobody learned may be there, too: the seat was removed in the middle of it.
        assert [line for line in kept if line in saved] == saved
