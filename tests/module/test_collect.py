"""The end of a workshop: work is archived from seats in any state before anything is removed."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from atelier.common.locks import Locks
from atelier.workshop.archives import _zstd

from tests.module.conftest import fresh_installation
from tests.module.installation import Installation, Run
from tests.waiting import eventually

SEATS = 4


def _play(site: Installation, playbook: str, **variables: Any) -> Run:
    return site.play(playbook, workshop_base="Course", workshop_seats=SEATS, **variables)


def _folder(site: Installation) -> Path:
    return site.state / "archives" / "workshop-course"


def _manifest(site: Installation) -> dict[str, dict[str, Any]]:
    document = json.loads((_folder(site) / "manifest.json").read_text())
    assert document["format"] == 1
    return {seat["name"]: seat for seat in document["seats"]}


def _content(site: Installation, seat: Mapping[str, Any]) -> dict[str, bytes | None]:
    """The content of an archive by path, after a comparison of its size and digest with the manifest's."""
    path = _folder(site) / seat["file"]
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (seat["bytes"], seat["sha256"])
    found: dict[str, bytes | None] = {}
    with _zstd().open(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            found[entry.name.rstrip("/")] = file.read() if file else None
    assert len(found) == seat["entries"]
    return found


@pytest.fixture(scope="class")
def day(network: str) -> Iterator[Installation]:
    """A running seat, a stopped one, one whose container was killed and one whose container was removed."""
    with fresh_installation(network) as site:
        _play(site, "workshop").succeeded()
        works, stopped, broken, gone = (site.row(f"Course {number}") for number in range(1, SEATS + 1))
        work = "cd /workspace && printf 'work of a day' > 'ä -x.txt' && echo secret > .env && echo .env > .gitignore"
        hook = "printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/*"
        hostile = f"mkdir -p .git/hooks; git config commit.gpgSign true; {hook}"
        for row in (works, stopped, broken):
            site.run_inside(row, f"{work}; {hostile}; ln -s /nowhere link")
        site.play("workspace_stop", workspace_name="Course 2").succeeded()
        site.run_inside(site.row("Course"), "mkdir /home/coder/kept && echo old > /home/coder/kept/old.txt")
        site.run_inside(broken, "cd /workspace && git checkout --quiet --detach")
        site.container(broken).exec_run(["rm", "/etc/code-server/config.yaml"], user="root")
        site.container(broken).kill()
        site.container(gone).remove(force=True)
        yield site


class TestSeatsInEveryState:
    """The tests run in order on one workshop; each continues from the state that the previous one left."""

    def test_nothing_is_removed_before_it_is_collected(self, day: Installation) -> None:
        assert not (day.state / "archives").exists()
        assert _missing(day) == ["Course 1", "Course 2", "Course 3", "Course 4", "Course"]
        assert len(day.rows()) == SEATS + 1

    def test_work_is_archived_in_any_state(self, day: Installation) -> None:
        run = _play(day, "workshop_collect").succeeded()
        assert [seat["name"] for seat in run.seats] == ["Course 1", "Course 2", "Course 3", "Course 4", "Course"]
        manifest = _manifest(day)
        assert {name: (seat["state"], seat["committed"], seat["error"]) for name, seat in manifest.items()} == {
            "Course": ("running", False, None),
            "Course 1": ("running", True, None),
            "Course 2": ("stopped", False, None),
            "Course 3": (manifest["Course 3"]["state"], False, None),
            "Course 4": ("error", False, None),
        }
        assert manifest["Course 4"]["file"] is None
        for name in ("Course 1", "Course 2", "Course 3"):
            content = _content(day, manifest[name])
            assert (content["workspace/ä -x.txt"], content["workspace/.env"]) == (b"work of a day", b"secret\n")
            assert "workspace/link" in content
            assert "workspace/.git/HEAD" in content
        assert "is not running" in manifest["Course 2"]["note"]

    def test_what_runs_is_committed_by_its_name_and_goes_on(self, day: Installation) -> None:
        works, entry = day.row("Course 1"), _manifest(day)["Course 1"]
        head = day.run_inside(works, "cd /workspace && git status --porcelain; git log -1 --format='%H %an <%ae>'")
        commit, _, author = head.partition(" ")
        assert (entry["commit"], entry["branch"]) == (commit, "main")
        assert author == f"Course 1 <{day.public_name(works)}@seats.localhost>"
        assert "no branch on the git server" in entry["note"]
        assert not day.container(works).attrs["State"]["Paused"]

    def test_what_is_newer_than_its_archive_is_not_removed(self, day: Installation) -> None:
        """A file with an old timestamp, a seat that ran in between, and a moved file are each noticed."""
        before = _manifest(day)
        new = "cd /workspace && git status && echo more > more.txt && touch -d 2020-01-01 more.txt"
        day.run_inside(day.row("Course 1"), new)
        day.play("workspace_start", workspace_name="Course 2").succeeded()
        day.run_inside(day.row("Course 2"), "echo more > /workspace/more.txt")
        day.play("workspace_stop", workspace_name="Course 2").succeeded()
        day.run_inside(day.row("Course"), "mv /home/coder/kept /workspace/")
        late = _play(day, "workshop_teardown", confirm=True).failed("NOT_COLLECTED", "ids")
        assert late["details"]["missing"] == ["Course 1", "Course 2", "Course 4", "Course"]
        assert late["msg"].count("has newer changes than its archive") == 3
        assert "'more.txt'" in late["msg"] and "'kept/old.txt'" in late["msg"]
        assert len(day.rows()) == SEATS + 1
        # Then archives are others, the older ones gone.
        _play(day, "workshop_collect").succeeded()
        after = _manifest(day)
        assert _files(day) == sorted(["manifest.json", *(seat["file"] for seat in after.values() if seat["file"])])
        assert after["Course 1"]["sha256"] != before["Course 1"]["sha256"]
        assert "workspace/more.txt" in _content(day, after["Course 1"])

    def test_a_spoilt_archive_is_none(self, day: Installation) -> None:
        path = _folder(day) / _manifest(day)["Course 2"]["file"]
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        assert _missing(day) == ["Course 2", "Course 4"]
        path.write_bytes(sound)

    def test_a_container_that_is_lost_after_the_collect_keeps_its_archive(self, day: Installation) -> None:
        before = _manifest(day)["Course 3"]
        day.container(day.row("Course 3")).remove(force=True)
        _play(day, "workshop_collect").succeeded()
        kept = _manifest(day)["Course 3"]
        assert kept | {"note": None, "codes": None} == before | {"state": "error", "note": None, "codes": None}
        assert kept["note"] == f"Its container is gone; this is the archive of {before['collected_at']}."
        assert _content(day, kept)["workspace/.env"] == b"secret\n"

    def test_the_end_needs_every_archive_and_keeps_them(self, day: Installation) -> None:
        """A seat without an archive prevents the teardown until that seat is deleted."""
        files = _files(day)
        assert _missing(day) == ["Course 4"]
        day.play("workspace_delete", workspace_name="Course 4").succeeded()
        _play(day, "workshop_teardown", confirm=True).succeeded()
        day.is_tidy([])
        assert _files(day) == files
        _play(day, "workshop_teardown", confirm=True).succeeded()
        assert _play(day, "workshop_collect").returncode != 0


def _missing(site: Installation) -> list[str]:
    """The names of the workspaces because of which a teardown is refused."""
    refused = _play(site, "workshop_teardown", confirm=True).failed("NOT_COLLECTED", "ids")
    return list(refused["details"]["missing"])


def _files(site: Installation) -> list[str]:
    return sorted(path.name for path in _folder(site).iterdir())


@pytest.fixture
def workshop(site: Installation, small: str) -> Installation:
    """One whose seats start at once, with something to read in each."""
    _play(site, "workshop", workshop_template=small).succeeded()
    for row in site.rows():
        site.run_inside(row, "head -c 12000000 /dev/urandom > /workspace/large")
    return site


def test_a_collect_that_is_killed_is_finished_by_another(workshop: Installation) -> None:
    started = workshop.start("workshop_collect", workshop_base="Course")

    def half_way() -> bool:
        paused = any(container.attrs["State"]["Paused"] for container in workshop.containers())
        begun = (_folder(workshop) / "manifest.json").exists()
        return (paused and begun) or started.process.poll() is not None

    eventually(half_way, "the moment to kill")
    started.kill()
    _play(workshop, "workshop_collect").succeeded()
    assert not any(container.attrs["State"]["Paused"] for container in workshop.containers())
    assert not list(_folder(workshop).glob(".*"))
    assert not list((workshop.state / "snapshots").iterdir())
    manifest = _manifest(workshop)
    assert len(manifest) == SEATS + 1
    for seat in manifest.values():
        assert len(_content(workshop, seat)["workspace/large"] or b"") == 12_000_000


def test_a_teardown_that_is_killed_is_finished_by_another(workshop: Installation) -> None:
    """Killed while seats are paused for their removal: remaining seats continue, and are removed by the next run."""
    _play(workshop, "workshop_collect").succeeded()
    started = workshop.start("workshop_teardown", workshop_base="Course", confirm=True)

    def held() -> bool:
        paused = any(container.attrs["State"]["Paused"] for container in workshop.containers())
        return paused or started.process.poll() is not None

    eventually(held, "the moment to kill")
    started.kill()
    workshop.play("reconcile", repair=True).succeeded()
    assert not any(container.attrs["State"]["Paused"] for container in workshop.containers())
    manifest = _manifest(workshop)
    for seat in manifest.values():
        assert len(_content(workshop, seat)["workspace/large"] or b"") == 12_000_000
    _play(workshop, "workshop_teardown", confirm=True).succeeded()
    workshop.is_tidy([])


def test_a_seat_that_fails_fails_alone(workshop: Installation) -> None:
    """Another operation holds one seat for longer than the collect waits: the others are collected."""
    busy = workshop.row("Course 2")
    with Locks(workshop.state).workspace(busy["id"], 0):
        run = _play(workshop, "workshop_collect", atelier_ready_timeout=-59)
        assert run.returncode != 0
        assert "Not collected: Course 2." in run.output
    manifest = _manifest(workshop)
    assert "Another operation held" in manifest["Course 2"]["error"]
    assert [name for name, seat in manifest.items() if seat["error"] is None and seat["file"]] == [
        "Course",
        "Course 1",
        "Course 3",
        "Course 4",
    ]
    refused = _play(workshop, "workshop_teardown", confirm=True).failed("NOT_COLLECTED", "ids")
    assert refused["details"]["missing"] == ["Course 2"]
    _play(workshop, "workshop_collect").succeeded()
    _play(workshop, "workshop_teardown", confirm=True).succeeded()
