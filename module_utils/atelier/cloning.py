"""Many seats from one workspace: reserved together, made side by side, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

from .engine import Image
from .errors import AtelierError, Code
from .model import Status, Workspace
from .passwords import generate_password, hash_password
from .platform import Platform
from .registry import Batch, clone_order, new_id
from .seat_sheet import SeatSheet
from .seats import discard_container, make_seat
from .snapshots import MAX_LAYERS, leftover_snapshots, remove_leftovers, snapshot
from .validation import check_count, check_password, check_title
from .views import view
from .workspace_plan import Desired, State
from .workspaces import ensure

# A starting IDE is mostly CPU; a few more than cores keep them busy while Docker sets up the next ones.
_SEATS_PER_CORE = 3
_MOST_WORKERS = 24
# Each takes 19 MiB while it hashes.
_HASHERS = 2


@dataclass(frozen=True)
class CloneOrder:
    """What to clone. Exactly one of ``count``, ``names`` and ``ids`` (rows that were reserved before) is given."""

    source_id: str | None = None
    source_name: str | None = None
    count: int | None = None
    names: Sequence[str] = ()
    ids: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    generate_passwords: bool = False
    sheet: SeatSheet | None = None
    owner: str = "default"
    max_layers: int = MAX_LAYERS


@dataclass
class _Seat:
    """A seat on its way: its row, whether its container is to be made, the password it shall have if that is known."""

    workspace: Workspace
    make: bool
    password: str | None = field(default=None, repr=False)
    new_password: bool = False
    reserved_here: bool = False
    changed: bool = False
    error: AtelierError | None = None


@dataclass(frozen=True)
class CloneOutcome:
    """``seats`` are views, each with ``changed`` and ``password`` (None unless it was set in this run)."""

    changed: bool
    resumed: bool
    source: Mapping[str, object]
    seats: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class _Run:
    """One execution: the id whose lock it holds, and the interrupted batch that it takes up, if it does."""

    id: str
    batch: Batch | None = None


def clone(platform: Platform, order: CloneOrder, *, check_mode: bool = False) -> CloneOutcome:
    """Makes the seats that the order asks for and that are not there yet; starts those that are stopped. Running it
    again finishes what is missing.

    Reserving is all or nothing; after that a seat that fails is ``error`` alone. Raises the validation codes,
    PROJECT_NOT_FOUND, WORKSPACE_BUSY (source still being created), the quotas' codes, SNAPSHOT_FAILED and DISK_FULL;
    then nothing new is left behind.
    """
    _check(order)
    source = platform.registry.get(id=order.source_id, name=order.source_name, field="source")
    if source.status is Status.CREATING:
        raise AtelierError(
            Code.WORKSPACE_BUSY,
            f"The workspace {source.name!r} is still being created.",
            field="source",
            remedy="Wait until it is running, then clone it.",
        )
    if check_mode:
        seats = _seats(platform, order, source, _Run(new_id()), keep=False)
        return CloneOutcome(
            changed=any(seat.make or _would_change(platform, seat) for seat in seats),
            resumed=False,
            source=view(platform.site, source, source.status),
            seats=[_seat_view(platform, seat) for seat in seats],
        )
    with _run(platform, order, source) as run:
        seats = _seats(platform, order, source, run)
        _note(platform, order, seats)
        if any(seat.make for seat in seats):
            platform.sync_routes()
            _make(platform, order, source, run, seats)
        else:
            _finish(platform, None, seats)
        _note(platform, order, seats)
        outcome = CloneOutcome(
            changed=any(seat.changed for seat in seats),
            resumed=run.batch is not None,
            source=view(platform.site, source, source.status),
            seats=[_seat_view(platform, seat) for seat in seats],
        )
        platform.registry.close_batch(run.id)
    return outcome


def _check(order: CloneOrder) -> None:
    if sum((order.count is not None, bool(order.names), bool(order.ids))) != 1:
        raise AtelierError(
            Code.VALIDATION_ERROR, "Exactly one of count, names and ids is needed.", field="count", remedy="Give one."
        )
    if order.count is not None:
        check_count(order.count)
    for name in order.names:
        check_title(name, "names")
    if len(set(order.names)) < len(order.names):
        raise AtelierError(
            Code.VALIDATION_ERROR, "The names hold one twice.", field="names", remedy="Give each seat its own."
        )
    if order.password is not None:
        check_password(order.password)
    for name, password in order.passwords.items():
        check_password(password, f"passwords[{name}]")
    strangers = order.passwords.keys() - set(order.names)
    if strangers:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The passwords name seats that the order does not: {', '.join(sorted(strangers))[:200]}.",
            field="passwords",
            remedy="Give passwords for seats in names; for all seats at once use password.",
        )


@contextmanager
def _run(platform: Platform, order: CloneOrder, source: Workspace) -> Iterator[_Run]:
    """Holds the lock of a batch that was interrupted and fits the order, or else of a new run."""
    remove_leftovers(platform, leftover_snapshots(platform))
    if order.count is not None:
        for batch in platform.registry.open_batches(source.id):
            with platform.locks.batch(batch.id) as held:
                if held and batch.count == order.count:
                    yield _Run(batch.id, batch)
                    return
    run_id = new_id()
    with platform.locks.batch(run_id):
        yield _Run(run_id)


def _seats(platform: Platform, order: CloneOrder, source: Workspace, run: _Run, *, keep: bool = True) -> list[_Seat]:
    """The order's seats: rows there are, and rows reserved now (or, with ``keep`` false, only as if)."""
    if order.ids:
        return [_present(platform, order, platform.registry.get(id=id, field="ids")) for id in order.ids]
    if run.batch:
        rows = [row for row in platform.registry.all() if row.batch == run.id]
        return [_present(platform, order, row, forgotten=True) for row in rows]
    if order.count is not None:
        passwords = [_wanted_password(order, None, new=True) for _ in range(order.count)]
        hashes = _hashes(passwords)
        reserved = platform.registry.reserve_clones(source, run.id, hashes, order.owner, keep=keep)
        return [_Seat(row, True, password, True, True) for row, password in zip(reserved, passwords, strict=True)]
    rows_by_name = {name: platform.registry.find(name=name) for name in order.names}
    missing = {name: _wanted_password(order, name, new=True) for name, row in rows_by_name.items() if row is None}
    orders = [
        clone_order(source, name, password_hash, owner=order.owner, batch=run.id)
        for name, password_hash in zip(missing, _hashes(list(missing.values())), strict=True)
    ]
    reserved_by_name = {row.name: row for row in platform.registry.reserve(orders, keep=keep)}
    seats: list[_Seat] = []
    for name, row in rows_by_name.items():
        if row is None:
            seats.append(_Seat(reserved_by_name[name], True, missing[name], True, True))
        elif row.cloned_from != source.id:
            raise AtelierError(
                Code.PROJECT_EXISTS,
                f"The name {name!r} is already in use by a workspace that is no clone of {source.name!r}.",
                field="names",
                value=name,
                remedy="Choose another name, or delete that workspace.",
            )
        else:
            seats.append(_present(platform, order, row))
    return seats


def _present(platform: Platform, order: CloneOrder, row: Workspace, *, forgotten: bool = False) -> _Seat:
    """A seat whose row exists. ``forgotten``: nobody was ever told the password that it may have been given."""
    container = platform.engine.inspect(platform.site.container_name(row.id))
    make = container is None or row.status is Status.CREATING
    known = order.sheet is None or order.sheet.password(row.name) is not None
    new = (make or forgotten or not known) and not order.ids
    password = _wanted_password(order, row.name, new=new)
    return _Seat(row, make, password, new_password=new and password is not None)


def _wanted_password(order: CloneOrder, name: str | None, *, new: bool) -> str | None:
    """What the order says, then what the sheet says, then one made up if that is wanted and the seat needs one."""
    said = order.passwords.get(name or "") or order.password
    noted = order.sheet.password(name) if order.sheet and name else None
    return said or noted or (generate_password() if order.generate_passwords and new else None)


def _hashes(passwords: Sequence[str | None]) -> list[str | None]:
    """Hashes each distinct password once, side by side: argon2 lets go of the interpreter while it works."""
    distinct = {password for password in passwords if password is not None}
    with ThreadPoolExecutor(_HASHERS) as pool:
        hashes = dict(zip(distinct, pool.map(hash_password, distinct), strict=True))
    return [hashes[password] if password is not None else None for password in passwords]


def _make(platform: Platform, order: CloneOrder, source: Workspace, run: _Run, seats: list[_Seat]) -> None:
    rebuilt = [seat for seat in seats if seat.make and not seat.reserved_here and seat.password is not None]
    for seat, password_hash in zip(rebuilt, _hashes([seat.password for seat in rebuilt]), strict=True):
        platform.registry.update(seat.workspace.id, password_hash=password_hash)
        seat.workspace = seat.workspace._replace(password_hash=password_hash)
    platform.progress(f"taking a snapshot of {source.name}", 0, 1)
    try:
        with snapshot(platform, source, run.id, max_layers=order.max_layers) as image:
            _finish(platform, image, seats)
        made = [seat for seat in seats if seat.make]
        if all(seat.error for seat in made) and made[0].error:
            raise made[0].error
    except AtelierError as error:
        _roll_back(platform, run, seats, error)
        raise


def _finish(platform: Platform, image: Image | None, seats: list[_Seat]) -> None:
    """Makes, starts and awaits all seats in a pool sized from the engine's machine; errors stay with their seat."""
    workers = min(_SEATS_PER_CORE * platform.engine.cpus(), _MOST_WORKERS, len(seats))
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_finish_one, platform, image, seat): seat for seat in seats}
        ready = 0
        for future in as_completed(futures):
            _settle(platform, future, futures[future])
            ready += futures[future].error is None
            platform.progress("seats ready", ready, len(seats))


def _finish_one(platform: Platform, image: Image | None, seat: _Seat) -> bool:
    if seat.make and image is not None:
        with platform.locks.workspace(seat.workspace.id, platform.lock_wait):
            make_seat(platform, seat.workspace, image.id)
        return True
    return ensure(platform, Desired(State.STARTED, id=seat.workspace.id, password=seat.password)).changed


def _settle(platform: Platform, future: Future[bool], seat: _Seat) -> None:
    try:
        seat.changed = future.result()
    except AtelierError as error:
        seat.changed, seat.error = True, error
        platform.registry.update(seat.workspace.id, status=Status.ERROR, error=error.message)


def _roll_back(platform: Platform, run: _Run, seats: list[_Seat], error: AtelierError) -> None:
    """Leaves nothing half-made: rows reserved here go, unless a container was kept to be looked into."""
    for seat in seats:
        if seat.reserved_here and not (seat.error and seat.error.code is Code.IDE_NOT_READY):
            discard_container(platform, seat.workspace)
            platform.registry.delete(seat.workspace.id)
        elif seat.make:
            platform.registry.update(seat.workspace.id, status=Status.ERROR, error=error.message)
    platform.registry.close_batch(run.id)
    platform.sync_routes()


def _would_change(platform: Platform, seat: _Seat) -> bool:
    return ensure(
        platform, Desired(State.STARTED, id=seat.workspace.id, password=seat.password), check_mode=True
    ).changed


def _note(platform: Platform, order: CloneOrder, seats: Sequence[_Seat]) -> None:
    if order.sheet:
        order.sheet.write([_seat_view(platform, seat) | {"password": seat.password} for seat in seats])


def _seat_view(platform: Platform, seat: _Seat) -> dict[str, object]:
    row = platform.registry.find(id=seat.workspace.id) or seat.workspace
    return {
        **view(platform.site, row, row.status, row.error),
        "changed": seat.changed,
        "password": seat.password if seat.new_password else None,
    }
