"""Claims: which participant has which seat. The database itself refuses a second claim of a seat or a person; this
module assigns the seats.

Claims are stored in the database. An answered claim survives a crash; an ended one stays as history.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Site, Status, Workspace
from .workspace_store import WorkspaceStore, now

# In the order of Claim's fields.
_COLUMNS = "workspace_id, seat_name, name, email, claimed_at, released_at, password_due, browser, source"
_CSV_COLUMNS = ("name", "email", "seat", "url", "claimedAt", "releasedAt")
_LAST_NUMBER = re.compile(r" ([0-9]+)$")
# Characters that start a formula in a spreadsheet, also in East Asian width. Source: OWASP, "CSV Injection".
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True)
class Participant:
    """A participant who claims a seat; both fields are validated already. ``browser`` and ``source`` (an address) are
    where the claim comes from; empty if unknown."""

    name: str
    email: str
    browser: str = ""
    source: str = ""


@dataclass(frozen=True)
class Bounds:
    """Seats that claims from one browser and from one address can hold at a time; 0 is no limit."""

    browser: int = 0
    source: int = 0


@dataclass(frozen=True)
class Claim:
    """A claimed seat. ``seat_name`` is the workspace's name at the time of the claim; ``password_pending``: the
    participant was not shown a password yet."""

    workspace_id: str
    seat_name: str
    name: str
    email: str
    claimed_at: str
    released_at: str | None
    password_pending: bool
    browser: str = ""
    source: str = ""


class ClaimStatus(StrEnum):
    SEATED = "seated"
    KNOWN = "known"
    FULL = "full"
    TOO_MANY = "too many"


@dataclass(frozen=True)
class ClaimResult:
    """The result of a claim. ``claim`` is None for FULL and TOO_MANY."""

    status: ClaimStatus
    claim: Claim | None


@dataclass(frozen=True)
class Occupancy:
    """The number of seats, of claimed ones, and of those that can be claimed now."""

    total: int
    claimed: int
    available: int


def claim_times(store: WorkspaceStore, workspace_id: str) -> tuple[str | None, str | None]:
    """Times of the seat's first and last claim, as ISO 8601 in UTC; None if there was none."""
    query = "SELECT min(claimed_at), max(claimed_at) FROM claims WHERE workspace_id = ?"
    ((first, last),) = store.rows(query, workspace_id)
    return first, last


def was_released(store: WorkspaceStore, workspace_id: str) -> bool:
    """Whether a claim of the seat has ended: what was pushed to its branch may be a former participant's."""
    query = "SELECT 1 FROM claims WHERE workspace_id = ? AND released_at IS NOT NULL"
    return bool(store.rows(query, workspace_id))


def was_anothers(store: WorkspaceStore, workspace_id: str, moment: str, *, scheduled: bool) -> bool:
    """Whether a checkpoint of the seat of that time has a former participant's work: of an ended claim, or if nobody
    asked for it (``scheduled``), from after one, since the seat may not have been released yet. If the clock was set
    back since a claim was made, checkpoints of it have the time of its beginning."""
    query = (
        "SELECT 1 FROM claims WHERE workspace_id = ?1 AND released_at IS NOT NULL"
        " AND (claimed_at = ?2 OR (claimed_at < ?2 AND (?2 < released_at OR (?3 AND NOT EXISTS ("
        " SELECT 1 FROM claims WHERE workspace_id = ?1 AND released_at IS NULL AND claimed_at <= ?2)))))"
    )
    return bool(store.rows(query, workspace_id, moment, scheduled))


class _Candidate(NamedTuple):
    """A workspace, as far as a claim looks at it: there are thousands, and whole rows take three times as long."""

    id: str
    name: str
    group: str | None
    cloned_from: str | None
    was_cloned: int
    status: str
    stop_reason: str | None
    unreleased: str | None


Row = TypeVar("Row", Workspace, _Candidate)


def pool(rows: Sequence[Row], group: str) -> list[Row]:
    """The workshop's seats in the order of assignment: by number, then those without one.

    They are the group's workspaces, or those named after it and numbered, except those that others were cloned from.
    """
    sources = {row.cloned_from for row in rows}
    seats = [row for row in members(rows, group) if row.id not in sources and not row.was_cloned]
    return sorted(seats, key=lambda row: (_number(row.name) is None, _number(row.name) or 0, row.name))


def members(rows: Sequence[Row], group: str) -> list[Row]:
    """All workspaces of the workshop: its seats and their bases."""
    named = re.compile(rf"{re.escape(group)}(?: [0-9]+)?")
    sources = {row.cloned_from for row in rows}
    # The group's bare name is only used for a base, never for a seat.
    return [
        row
        for row in rows
        if row.group == group or (named.fullmatch(row.name) and (row.name != group or row.id in sources))
    ]


def _number(name: str) -> int | None:
    found = _LAST_NUMBER.search(name)
    return int(found[1]) if found else None


class Claims:
    """The claims on the seats of one workshop group. Seats that run can be claimed, and those that were stopped for a
    reason in ``wakes``: they start when they are opened. None whose release failed can."""

    def __init__(
        self, store: WorkspaceStore, group: str, bounds: Bounds = Bounds(), wakes: Collection[str] = ()
    ) -> None:
        self._store = store
        self._wakes = wakes
        self._group = group
        self._bounds = bounds
        self._known: tuple[object, Sequence[_Candidate]] = (None, ())

    def claim(
        self,
        participants: Sequence[Participant],
        *,
        password_pending: bool = False,
        leaving: Callable[[], Collection[str]] = tuple,
    ) -> list[ClaimResult]:
        """Assigns seats in one transaction, in the order given: one wait for the disk for all of them.

        A participant with a seat keeps it (KNOWN, also twice in one call). Seats that are claimed, that neither run nor
        sleep, whose release failed, or that are ``leaving`` (about to be stopped or removed, or out of reach) are not
        assigned. That is asked in the transaction: a release ends a claim in the one that stores its job.
        """
        with self._store.transaction() as db:
            opened = self._select("released_at IS NULL")
            by_email = {claim.email.lower(): claim for claim in opened}
            browsers = Counter(claim.browser for claim in opened if claim.browser)
            sources = Counter(claim.source for claim in opened if claim.source)
            taken = {claim.workspace_id for claim in opened}.union(leaving())
            usable = self._usable()
            free = (seat for seat in usable if seat.id not in taken)
            moment, bounds = now(), self._bounds
            outcomes: list[ClaimResult] = []
            for participant in participants:
                key = participant.email.lower()
                browser, source = participant.browser, participant.source
                if known := by_email.get(key):
                    outcomes.append(ClaimResult(ClaimStatus.KNOWN, known))
                elif 0 < bounds.browser <= browsers[browser] or 0 < bounds.source <= sources[source]:
                    outcomes.append(ClaimResult(ClaimStatus.TOO_MANY, None))
                elif (seat := next(free, None)) is None:
                    outcomes.append(ClaimResult(ClaimStatus.FULL, None))
                else:
                    who = (participant.name, participant.email)
                    made = Claim(seat.id, seat.name, *who, moment, None, password_pending, browser, source)
                    db.execute(f"INSERT INTO claims ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(made))  # noqa: S608
                    by_email[key] = made
                    browsers.update([browser] if browser else [])
                    sources.update([source] if source else [])
                    outcomes.append(ClaimResult(ClaimStatus.SEATED, made))
            # These claims did not change the rows that were read.
            self._known = self._store.version(), usable
        return outcomes

    def _usable(self) -> Sequence[_Candidate]:
        """The seats that run or sleep, in the order of assignment; read again after another change of the database."""
        version, seats = self._known
        if version == self._store.version():
            return seats
        query = (
            "SELECT id, name, group_name, cloned_from, was_cloned, status, stop_reason, unreleased FROM workspaces"
            " ORDER BY sequence"
        )
        seats = pool([_Candidate._make(row) for row in self._store.rows(query)], self._group)
        # Running seats first, because nobody has to wait for them.
        return sorted(filter(self._is_usable, seats), key=lambda seat: seat.status != Status.RUNNING)

    def _is_usable(self, seat: _Candidate | Workspace) -> bool:
        if seat.unreleased is not None:
            return False
        # One that runs and has a reason is being upgraded, and will be stopped again.
        if seat.status == Status.RUNNING:
            return seat.stop_reason is None
        return seat.status == Status.STOPPED and seat.stop_reason in self._wakes

    def release(self, workspace_id: str) -> Claim:
        """Ends and returns the claim on a seat. Raises NOT_FOUND if it has none."""
        with self._store.transaction() as db:
            claim = next(iter(self._select("released_at IS NULL AND workspace_id = ?", workspace_id)), None)
            if claim is None:
                none = Message("claim.none", workspace=workspace_id)
                raise AtelierError(Code.NOT_FOUND, none, field="workspace_id", value=workspace_id)
            db.execute(
                "UPDATE claims SET released_at = ?, password_due = 0 WHERE workspace_id = ? AND released_at IS NULL",
                (now(), workspace_id),
            )
        return claim

    def mark_password_shown(self, claim: Claim) -> None:
        """Records that the participant was shown the seat's password, which happens once."""
        change = "UPDATE claims SET password_due = 0 WHERE workspace_id = ? AND claimed_at = ?"
        self._store.write(change, claim.workspace_id, claim.claimed_at)

    def open(self) -> list[Claim]:
        """The present claims, oldest first."""
        return self._select("released_at IS NULL")

    def of_browser(self, browser: str) -> list[Claim]:
        """The present claims that were made from this browser."""
        return self._select("released_at IS NULL AND browser = ?", browser)

    def ended(self) -> list[Claim]:
        """The ended claims, in the order of their creation."""
        return self._select("released_at IS NOT NULL")

    def members(self) -> list[Workspace]:
        return members(self._store.all(), self._group)

    def seats(self) -> list[Workspace]:
        return pool(self._store.all(), self._group)

    def occupancy(self, out_of_reach: Collection[str] = ()) -> Occupancy:
        seats = self.seats()
        taken = {claim.workspace_id for claim in self.open()}
        free = [seat for seat in seats if seat.id not in taken]
        usable = [seat for seat in free if self._is_usable(seat) and seat.id not in out_of_reach]
        return Occupancy(len(seats), len(seats) - len(free), len(usable))

    def _select(self, condition: str, *values: str) -> list[Claim]:
        query = f"SELECT {_COLUMNS} FROM claims WHERE {condition} ORDER BY sequence"  # noqa: S608 - ours
        return [Claim(*(*row[:6], bool(row[6]), *row[7:])) for row in self._store.rows(query, *values)]


def sheet(site: Site, claims: Iterable[Claim]) -> str:
    """The claims as CSV; spreadsheets interpret no cell as a formula."""
    buffer = io.StringIO()
    # Quote semicolons, too: German spreadsheets use them as separators.
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(_CSV_COLUMNS)
    for claim in claims:
        url = site.workspace_url(claim.workspace_id)
        cells = (claim.name, claim.email, claim.seat_name, url, claim.claimed_at, claim.released_at or "")
        writer.writerow([_as_text(cell) for cell in cells])
    return buffer.getvalue()


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
