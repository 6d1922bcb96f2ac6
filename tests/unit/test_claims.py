"""Claims: the pool, the assignment, and what must be unique."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import Status, StopReason
from atelier.common.validation import check_email, check_person
from atelier.database.claims import Bounds, Claims, ClaimStatus, Occupancy, Participant, members, pool, sheet
from atelier.database.intent import stopped_on_purpose
from atelier.database.job_store import Jobs
from atelier.database.rows import clone_order
from atelier.database.workspace_store import WorkspaceStore, new_id
from atelier.workshop.rehearsal import GROUP
from support import open_store, order, refused, row, site, start_python

from api.core.errors import error_response


def seated(store: WorkspaceStore, count: int, *, group: str | None = "spring") -> Claims:
    """A workshop of a base and that many running seats, as cloning makes it."""
    (base,) = store.reserve([order("Spring", group=group)])
    made = store.reserve_clones(base, None, [None] * count, "default")
    for seat in (base, *made):
        store.update(seat.id, status=Status.RUNNING)
    return Claims(store, group or "spring")


def people(*emails: str) -> list[Participant]:
    return [Participant(f"Name of {email}", email) for email in emails]


def test_the_pool_is_the_group_without_what_was_cloned_from_by_number() -> None:
    rows = [
        row(id="a" * 12, name="Spring", group="spring"),
        row(id="b" * 12, name="Spring 10", group="spring", cloned_from="a" * 12),
        row(id="c" * 12, name="Spring 9", group="spring", cloned_from="a" * 12),
        row(id="d" * 12, name="spring 1"),  # by its name
        row(id="e" * 12, name="spring 1 x"),
        row(id="f" * 12, name="Loner", group="spring"),
        row(id="0" * 12, name="Other 1", group="other"),
    ]
    assert [seat.name for seat in pool(rows, "spring")] == ["spring 1", "Spring 9", "Spring 10", "Loner"]
    # All of the workshop has the base, too: by its group, or by its name once somebody cloned from it.
    assert {row.id[0] for row in members(rows, "spring")} == set("abcdf")
    named = [row(id="a" * 12, name="day"), row(id="b" * 12, name="day 1", cloned_from="a" * 12)]
    assert members(named, "day") == named
    assert members(named[:1], "day") == []


def test_a_base_is_no_seat_after_its_clones_are_removed(tmp_path: Path) -> None:
    """After the end of a workshop somebody could claim it, with the solutions, and get a new password for it."""
    with open_store(tmp_path) as store:
        claims = seated(store, 1)
        (seat,) = claims.seats()
        (copy,) = store.reserve_clones(seat, None, [None], "default")
        store.delete(copy.id)
        assert claims.seats() == [seat]
        store.delete(seat.id)
        assert (claims.seats(), claims.occupancy().total) == ([], 0)
        assert [row.name for row in claims.members()] == ["Spring"]
        assert claims.claim(people("late@example.com"))[0].status is ClaimStatus.FULL


def test_a_workspace_of_which_no_clone_ever_ran_is_no_base(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        (seat,) = store.reserve([order("Spring 1", group="Spring")])
        (clone,) = store.reserve_clones(seat, None, [None], "default")
        store.update(clone.id, status=Status.ERROR)
        store.delete(clone.id)
        assert store.get(id=seat.id) == seat
        assert Claims(store, "Spring").seats() == [seat]


def test_a_seat_is_one_again_after_a_rehearsal_with_it(tmp_path: Path) -> None:
    """A rehearsal copies one of seats that were made one by one."""
    with open_store(tmp_path) as store:
        (seat,) = store.reserve([order("Spring 1", group="Spring")])
        claims = Claims(store, "Spring")
        rehearsed = seat._replace(group=GROUP)
        (copy,) = store.reserve([clone_order(rehearsed, "copy", None, id=new_id(), owner="default", batch=None)])
        assert claims.seats() == []
        store.update(copy.id, status=Status.RUNNING)
        store.delete(copy.id)
        assert claims.seats() == [seat]


def test_what_changes_between_claims_counts(tmp_path: Path) -> None:
    """A claim reuses what the one before it read, as long as nobody else writes."""

    def claimed(email: str) -> str:
        (outcome,) = claims.claim(people(email))
        return outcome.claim.seat_name if outcome.claim else str(outcome.status)

    with open_store(tmp_path) as store, open_store(tmp_path) as another:
        claims = seated(store, 5)
        assert [claimed("a@x.org"), claimed("b@x.org")] == ["Spring 1", "Spring 2"]
        another.update(store.get(name="Spring 3").id, status=Status.STOPPED)
        assert claimed("c@x.org") == "Spring 4"
        store.update(store.get(name="Spring 3").id, status=Status.RUNNING)
        another.delete(store.get(name="Spring 5").id)
        assert [claimed("d@x.org"), claimed("e@x.org")] == ["Spring 3", str(ClaimStatus.FULL)]
        claims.release(store.get(name="Spring 2").id)
        assert claimed("f@x.org") == "Spring 2"


def test_seats_are_given_by_number_and_only_those_that_run(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        claims = seated(store, 11)
        store.update(store.get(name="Spring 2").id, status=Status.STOPPED)
        assert claims.occupancy() == Occupancy(11, 0, 10)
        third = store.get(name="Spring 3").id
        outcomes = claims.claim(people("a@x.org", "b@x.org", "A@X.org"), leaving=lambda: [third])
        assert [outcome.status for outcome in outcomes] == [ClaimStatus.SEATED, ClaimStatus.SEATED, ClaimStatus.KNOWN]
        assert [outcome.claim.seat_name for outcome in outcomes if outcome.claim] == [
            "Spring 1",
            "Spring 4",
            "Spring 1",
        ]
        # A repeated claim returns the same seat; the first name stays.
        (again,) = claims.claim([Participant("Somebody else", "B@x.ORG")])
        assert again.claim == outcomes[1].claim
        assert claims.occupancy() == Occupancy(11, 2, 8)
        full = claims.claim(people(*(f"{number}@x.org" for number in range(9))))
        assert [outcome.status for outcome in full] == [ClaimStatus.SEATED] * 8 + [ClaimStatus.FULL]


def test_a_seat_whose_release_is_asked_for_meanwhile_is_not_given(tmp_path: Path) -> None:
    """The release ends all that runs in it, and may reset its files."""
    with open_store(tmp_path) as store, ThreadPoolExecutor(1) as beside:
        claims, jobs = seated(store, 2), Jobs(store)
        claims.claim(people("a@x.org"))
        first = store.get(name="Spring 1").id

        def release() -> None:
            with store.transaction():
                jobs.create("release", [first], {}, "admin")
                claims.release(first)

        def leaving() -> set[str]:
            found = jobs.workspaces_with_open_jobs()
            wait([beside.submit(release)], 0.3)
            return found

        (outcome,) = claims.claim(people("b@x.org"), leaving=leaving)
        assert outcome.claim and outcome.claim.seat_name == "Spring 2"


def test_seats_that_sleep_are_given_after_those_that_run(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        seated(store, 4)
        claims = Claims(store, "spring", wakes=["idle"])
        for name, reason in (
            ("Spring 1", StopReason.IDLE),
            ("Spring 2", StopReason.PERSON),
            ("Spring 4", StopReason.END),
        ):
            stopped_on_purpose(store, store.get(name=name).id, reason)
        # An upgrade starts one that is to stay stopped, for a moment.
        store.update(store.get(name="Spring 2").id, status=Status.RUNNING)
        assert claims.occupancy() == Occupancy(4, 0, 2)
        outcomes = claims.claim(people("a@x.org", "b@x.org", "c@x.org"))
        names = [outcome.claim.seat_name if outcome.claim else outcome.status for outcome in outcomes]
        assert names == ["Spring 3", "Spring 1", ClaimStatus.FULL]


def test_a_release_keeps_history_and_frees_seat_and_address(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        claims = seated(store, 1)
        (first,) = claims.claim(people("a@x.org"))
        assert first.claim is not None
        claims.release(first.claim.workspace_id)
        with pytest.raises(AtelierError) as error:
            claims.release(first.claim.workspace_id)
        refused(error, Code.NOT_FOUND, "workspace_id")
        # As the API calls it, also at an address below that of claims.
        assert "projectId" in json.loads(bytes(error_response(error.value, of_project=False).body))["details"]
        (second,) = claims.claim(people("a@x.org"))
        assert second.status is ClaimStatus.SEATED
        (past,) = claims.ended()
        assert past.released_at and past.released_at >= past.claimed_at
        # A seat that is removed is nobody's any more.
        store.delete(first.claim.workspace_id)
        assert claims.open() == []
        assert [claim.released_at is not None for claim in claims.ended()] == [True, True]


def test_the_database_itself_refuses_a_seat_or_a_participant_twice(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        seated(store, 2).claim(people("a@x.org"))
    insert = (
        "INSERT INTO claims (workspace_id, seat_name, name, email, claimed_at, released_at, password_due)"
        " SELECT {seat}, seat_name, name, {email}, claimed_at, NULL, 0 FROM claims"
    )
    with sqlite3.connect(tmp_path / "registry.sqlite3") as db:
        for seat, email in (("workspace_id", "'other@x.org'"), ("'other'", "upper(email)")):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(insert.format(seat=seat, email=email))


def test_processes_that_claim_at_once_and_are_killed_share_no_seat(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        claims = seated(store, 30)
        herd = """
            from pathlib import Path
            from atelier.database.claims import Claims, Participant
            from support import open_store
            claims = Claims(open_store(Path(sys.argv[1])), "spring")
            for number in range(40):
                (outcome,) = claims.claim([Participant("n", f"{sys.argv[2]}-{number}@x.org")])
                print(outcome.claim.email if outcome.claim else "full", flush=True)
        """
        processes = [start_python(herd, tmp_path, number) for number in range(3)]
        assert processes[0].stdout is not None
        promised = [processes[0].stdout.readline().strip() for _ in range(3)]
        processes[0].kill()
        told = [line for process in processes[1:] for line in process.communicate(timeout=60)[0].split()]
        processes[0].wait()
        opened = claims.open()
        assert len({claim.workspace_id for claim in opened}) == len({claim.email for claim in opened}) == 30
        # What was answered is true, also of the one that was killed.
        assert {line for line in (*told, *promised) if line != "full"} <= {claim.email for claim in opened}


def test_a_sheet_that_no_spreadsheet_computes(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        claims = seated(store, 3)
        claims.claim([Participant('=HYPERLINK("http://x")', "-a@x.org"), Participant("M;=1+1", "b@x.org")])
        claims.claim([Participant("\uff1d1", "c@x.org")])
        text = sheet(site(tmp_path), claims.open())
    heading, *lines = csv.reader(text.splitlines())
    assert heading == ["name", "email", "seat", "url", "claimedAt", "releasedAt"]
    assert lines[0][:3] == ['\'=HYPERLINK("http://x")', "'-a@x.org", "Spring 1"]
    assert lines[0][5] == ""
    assert [line[0] for line in lines[1:]] == ["M;=1+1", "'\uff1d1"]
    # A reader that expects semicolons finds no separators.
    assert all(len(row) == 1 for row in csv.reader(text.splitlines(), delimiter=";"))


@pytest.mark.parametrize("email", ["max@example.com", "Max.O'Neil+x@sub.example.co", " a@b.example "])
def test_addresses_that_are_taken(email: str) -> None:
    assert check_email(email) == email.strip()


@pytest.mark.parametrize(
    "email", ["", "max", "max@", "@example.com", "max@example", "a b@example.com", "a@b..com", "a@-b.com", "a@b.c\n.d"]
)
def test_addresses_that_are_refused(email: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_email(email)
    refused(error, Code.VALIDATION_ERROR, "email")


def test_names_are_tidied_and_must_be_printable() -> None:
    assert check_person("  Zoë \t van  Dijk ") == "Zoë van Dijk"
    for name in ("प्\u200dया", "👩\u200d👧", "O'Neil-Ray (2)"):
        assert check_person(name) == name
    for name, fault in (
        ("", "empty"),
        (" \u200d ", "empty"),
        ("a" * 101, "101 characters"),
        ("a\x00b", "U+0000"),
        ("a\u202eb", "U+202E"),
        ("a\u200bb", "U+200B"),
    ):
        with pytest.raises(AtelierError, match=re.escape(fault)) as error:
            check_person(name)
        refused(error, Code.VALIDATION_ERROR, "name")


def test_one_browser_or_address_holds_only_so_many_seats(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        seated(store, 6)
        claims = Claims(store, "spring", Bounds(browser=2, source=3))

        def claim(number: int, browser: str, source: str) -> ClaimStatus:
            (outcome,) = claims.claim([Participant("Max", f"{number}@example.com", browser, source)])
            return outcome.status

        assert [claim(number, "a", "10.0.0.1") for number in (1, 2, 3)] == ["seated", "seated", "too many"]
        # Who has a seat already still learns which.
        assert claim(1, "a", "10.0.0.1") is ClaimStatus.KNOWN
        assert [claim(number, f"b{number}", "10.0.0.1") for number in (4, 5)] == ["seated", "too many"]
        # Of many in one transaction, too; nobody is counted whose browser and address are unknown.
        many = [Participant("Max", f"{number}@example.org", "c", "10.0.0.2") for number in range(3)]
        assert [outcome.status for outcome in claims.claim(many)] == ["seated", "seated", "too many"]
        claims.release(claims.open()[0].workspace_id)
        assert claim(6, "a", "10.0.0.1") is ClaimStatus.SEATED
        assert [claim(number, "", "") for number in (7, 8)] == ["seated", "full"]
