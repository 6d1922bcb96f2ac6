"""Creates many seats from one workspace: reserved together, created in parallel, each with its own result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ..common.errors import AtelierError, Code, faults_of, invalid
from ..common.messages import Message
from ..common.models import Status, Workspace
from ..common.passwords import generate_password, hash_password
from ..common.validation import check_count, check_password, check_title
from ..containers.container import check_created, container_of, discard_container, is_made_again, make_seat
from ..containers.context import Context, NodeContext
from ..containers.distribution import publish, pull, remote_name
from ..containers.git_provisioning import end_access, repository_for
from ..containers.snapshots import MAX_LAYERS, check_source, leftover_snapshots, remove_leftover_snapshots, snapshot
from ..database.claims import claim_times
from ..database.intent import has_other_password
from ..database.lasting_errors import check_restored
from ..database.rows import Batch, clone_order
from ..database.workspace_store import new_id
from ..engine.docker_errors import is_engine_away
from ..engine.models import Image
from .credentials_csv import CredentialsCsv
from .kept_containers import previous_container
from .plan import WorkspaceSpec, WorkspaceState
from .service import ensure
from .side_by_side import IDES_PER_CORE
from .views import UNKNOWN, view

_MOST_WORKERS = 24
# Each takes 19 MiB while it hashes.
_HASHERS = 2


@dataclass(frozen=True)
class CloneOrder:
    """The clone request. ``source`` is a name. Exactly one of ``count``, ``names`` and ``ids`` (rows reserved before)
    is given. The snapshot is one layer from ``flatten_at`` layers on."""

    source_id: str | None = None
    source: str | None = None
    count: int | None = None
    names: Sequence[str] = ()
    ids: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    generate_passwords: bool = False
    sheet: CredentialsCsv | None = None
    owner: str = "default"
    # The group of the seats in ``names``, if it is not their source's.
    group: str | None = None
    # Labels that the machines of new seats must have; by default those of their source's.
    nodes: Sequence[str] = ()
    flatten_at: int = MAX_LAYERS


@dataclass
class _Seat:
    """A seat in progress: its row, whether its container must be created, and its password, if known.

    ``fresh``: not visible to users yet (reserved by this run or an interrupted one), so it may be removed again.
    """

    workspace: Workspace
    make: bool
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    new_password: bool = False
    fresh: bool = False
    changed: bool = False
    error: AtelierError | None = None


def clone(context: Context, order: CloneOrder, *, check_mode: bool = False) -> dict[str, Any]:
    """Creates the missing seats of the request and starts stopped ones. Run it again to complete an interrupted run.
    Returns whether it ``resumed`` one, the view of the ``source``, and views of the ``seats``, each with ``changed``
    and ``password`` (None unless it was set in this run).

    Reserving is all or nothing; after that a failed seat is ``error`` alone. Raises the validation codes,
    PROJECT_NOT_FOUND, WORKSPACE_BUSY (source or a seat still being created), the quotas' codes, SNAPSHOT_FAILED and
    DISK_FULL; then nothing new is left behind. After SERVICE_UNAVAILABLE in the middle the rows stay ``creating`` for
    the next run.
    """
    _check(order)
    source = context.store.get(id=order.source_id, name=order.source, field="source")
    check_created(source, "source")
    source = source._replace(node_labels=context.engines.node_labels(order.nodes, source.node_labels))
    if check_mode:
        return _dry_run(context, order, source)
    held = order.sheet.held(context.locks, context.lock_wait) if order.sheet else nullcontext()
    with held, _run(context, order, source) as (run_id, resumed):
        seats = _seats(context, order, source, run_id)
        try:
            _note(context, order, seats)
            _finish_all(context, order, source, run_id, seats)
        except AtelierError as error:
            if not is_engine_away(error):
                _roll_back(context, run_id, seats, error)
            raise
        _note(context, order, seats)
        views = [_seat_view(context, seat) for seat in seats]
        context.store.close_batch(run_id)
    return {"resumed": resumed, "source": view(context.site, source, source.status), "seats": views}


def _dry_run(context: Context, order: CloneOrder, source: Workspace) -> dict[str, Any]:
    """Returns what the request would do, without doing it."""
    batch = next((batch for batch in _interrupted(context, order, source) if context.locks.batch_free(batch.id)), None)
    seats = _seats(context, order, source, batch.id if batch else new_id(), dry_run=True)
    if any(seat.make for seat in seats):
        check_source(context.at(source), source)
    for seat in seats:
        seat.changed = seat.make or (seat.workspace.unreleased is None and _start(context, seat, check_mode=True))
    views = [_planned_view(context, seat) for seat in seats]
    return {"resumed": batch is not None, "source": view(context.site, source, source.status), "seats": views}


def _check(order: CloneOrder) -> None:
    if sum((order.count is not None, bool(order.names), bool(order.ids))) != 1:
        raise invalid("input.exactly_one", "count", names="count, names, ids")
    if order.count is not None:
        check_count(order.count)
    for name in order.names:
        check_title(name, "names")
    if len(set(order.names)) < len(order.names):
        raise invalid("input.duplicate_name", "names")
    if order.password is not None:
        check_password(order.password)
    for name, password in order.passwords.items():
        check_password(password, f"passwords[{name}]")
    strangers = order.passwords.keys() - set(order.names)
    if strangers:
        raise invalid("input.password_of_nobody", "passwords", names=", ".join(sorted(strangers))[:200])


def _interrupted(context: Context, order: CloneOrder, source: Workspace) -> list[Batch]:
    """Interrupted batches of the same kind: their result was not returned, and no live run has them locked."""
    return [batch for batch in context.store.open_batches(source.id) if batch.count == order.count]


@contextmanager
def _run(context: Context, order: CloneOrder, source: Workspace) -> Iterator[tuple[str, bool]]:
    """Holds the lock of an interrupted batch that fits the request, or else of a new run. Yields the id of the lock,
    and whether the run resumes an interrupted one."""
    context.at_each(lambda here: remove_leftover_snapshots(here, leftover_snapshots(here)))
    for batch in _interrupted(context, order, source):
        with context.locks.batch(batch.id) as held:
            # The previous holder may have closed it.
            if held and batch in context.store.open_batches(source.id):
                yield batch.id, True
                return
    run_id = new_id()
    with context.locks.batch(run_id):
        yield run_id, False


def _seats(
    context: Context, order: CloneOrder, source: Workspace, run_id: str, *, dry_run: bool = False
) -> list[_Seat]:
    """The order's seats: rows there are, and rows reserved now (or, with ``dry_run``, only as if)."""
    if order.ids:
        # Some may have been deleted since; the others are still created.
        rows = [row for id in order.ids if (row := context.store.find(id=id))]
        if not rows:
            context.store.get(id=order.ids[0], field="ids")
        return [_present(context, order, row) for row in rows]
    if order.count is not None:
        there = [row for row in context.store.all() if row.batch == run_id]
        passwords = [_wanted_password(order, None, new=True) for _ in range(order.count - len(there))]
        machines = context.engines.machines()
        reserved = context.store.reserve_clones(
            source, run_id, _hashes(passwords), order.owner, machines=machines, dry_run=dry_run
        )
        return [
            *(_present(context, order, row, forgotten=True) for row in there),
            *(_fresh(row, password) for row, password in zip(reserved, passwords, strict=True)),
        ]
    rows_by_name = {name: context.store.find(name=name) for name in order.names}
    seats_by_name = {name: _named(context, order, source, row) for name, row in rows_by_name.items() if row}
    missing = {name: _wanted_password(order, name, new=True) for name, row in rows_by_name.items() if row is None}
    inherited = source._replace(group=order.group or source.group)
    orders = [
        clone_order(inherited, name, password_hash, id=new_id(), owner=order.owner, batch=run_id)
        for name, password_hash in zip(missing, _hashes(list(missing.values())), strict=True)
    ]
    reserved = context.store.reserve(orders, context.engines.machines(), dry_run=dry_run)
    seats_by_name |= {row.name: _fresh(row, missing[row.name]) for row in reserved}
    for seat in seats_by_name.values():
        row = seat.workspace
        unfinished = row.status is Status.CREATING and row.batch != run_id
        if unfinished and not dry_run and not context.store.take_over(row, run_id):
            for reservation in reserved:
                context.store.delete(reservation.id)
            raise _busy(row)
    return [seats_by_name[name] for name in order.names]


def _fresh(row: Workspace, password: str | None) -> _Seat:
    return _Seat(row, make=True, password=password, password_hash=row.password_hash, new_password=True, fresh=True)


def _named(context: Context, order: CloneOrder, source: Workspace, row: Workspace) -> _Seat:
    """A seat that the order names and whose row exists. Raises PROJECT_EXISTS for one that is no clone of the source,
    WORKSPACE_BUSY for one that another run is making."""
    if row.cloned_from != source.id:
        message = Message("name_of_another", name=row.name, source=source.name)
        raise AtelierError(Code.PROJECT_EXISTS, message, field="names", value=row.name)
    if row.status is Status.CREATING and row.batch is not None and not context.locks.batch_free(row.batch):
        raise _busy(row)
    return _present(context, order, row)


def _busy(row: Workspace) -> AtelierError:
    return AtelierError(Code.WORKSPACE_BUSY, Message("seat_being_made", name=row.name), field="names", value=row.name)


def _present(context: Context, order: CloneOrder, row: Workspace, *, forgotten: bool = False) -> _Seat:
    """A seat whose row exists. ``forgotten``: a password that it may have was never returned to anybody."""
    make = _is_unmade(context, row)
    fresh = row.status is Status.CREATING and not order.ids and not is_made_again(row)
    if not (order.passwords.get(row.name) or order.password) and _has_own_password(context, order, row, fresh):
        return _Seat(row, make, password_hash=row.password_hash)
    known = order.sheet is None or order.sheet.password(row.name) is not None
    new = (make or forgotten or not known) and not order.ids
    password = _wanted_password(order, row.name, new=new)
    # A generated password that was never shown is useless: set the requested one, or none.
    password_hash = hash_password(password) if make and password else None if fresh else row.password_hash
    return _Seat(row, make, password, password_hash, new_password=new and password is not None, fresh=fresh)


def _has_own_password(context: Context, order: CloneOrder, row: Workspace, fresh: bool) -> bool:
    """Whether it has the password of its claim or release, or another one that was set since the sheet's."""
    noted = order.sheet is not None and order.sheet.password(row.name) is not None and not fresh
    return claim_times(context.store, row.id)[0] is not None or (noted and has_other_password(context.store, row.id))


def _is_unmade(context: Context, row: Workspace) -> bool:
    if row.status is Status.CREATING:
        return True
    try:
        here = context.at(row)
        # Its start gives a seat whose reset or upgrade was killed its container back.
        return container_of(here, row) is None and previous_container(here, row.id) is None
    except AtelierError as error:
        if error.code is not Code.NODE_UNAVAILABLE:
            raise
        return False  # its start fails with the reason, and the other seats go on


def _wanted_password(order: CloneOrder, name: str | None, *, new: bool) -> str | None:
    """The password of the request, else of the CSV file, else a generated one if wanted and needed."""
    said = order.passwords.get(name or "") or order.password
    noted = order.sheet.password(name) if order.sheet and name else None
    return said or noted or (generate_password() if order.generate_passwords and new else None)


def _hashes(passwords: Sequence[str | None]) -> list[str | None]:
    """Hashes each distinct password once, in parallel: argon2 releases the interpreter's lock."""
    distinct = {password for password in passwords if password is not None}
    with ThreadPoolExecutor(_HASHERS) as pool:
        hashes = dict(zip(distinct, pool.map(hash_password, distinct), strict=True))
    return [hashes[password] if password is not None else None for password in passwords]


def _finish_all(context: Context, order: CloneOrder, source: Workspace, run_id: str, seats: Sequence[_Seat]) -> None:
    """Creates and starts the seats. Raises if none could be created or the engine became unavailable."""
    made = [seat for seat in seats if seat.make]
    if made:
        context.sync_routes()
        context.progress(Message("step.snapshot", name=source.name), 0, 1)
        there = context.at(source)
        nodes = {seat.workspace.node for seat in made}
        with (
            snapshot(there, source, run_id, max_layers=order.flatten_at) as (there, image),
            ThreadPoolExecutor(len(nodes) + 1) as pool,
        ):
            _finish(context, _images(there, image, nodes, pool), seats)
    else:
        _finish(context, {}, seats)
    errors = [seat.error for seat in seats if seat.error]
    gone = next(filter(is_engine_away, errors), None)
    if gone:
        raise gone
    if made and made[0].error and all(seat.error for seat in made):
        raise made[0].error


def _images(there: NodeContext, image: Image, nodes: set[str], pool: ThreadPoolExecutor) -> dict[str, Future[str]]:
    """Transfers the snapshot to the machines; returns its name at each, as futures. It is pushed once and pulled in
    parallel in the pool, which needs a thread for each. A failure affects only the other machines' seats."""
    remote = remote_name(there.site, image.tags[0])
    own: Future[str] = Future()
    own.set_result(image.id)
    if nodes <= {there.node}:
        return {there.node: own}
    pushed = pool.submit(publish, there, image, remote)

    def bring(node: str) -> str:
        pushed.result()
        pull(there.on(node), remote)
        return remote

    return {node: own if node == there.node else pool.submit(bring, node) for node in nodes}


def _finish(context: Context, images: Mapping[str, Future[str]], seats: Sequence[_Seat]) -> None:
    """Creates, starts and awaits all seats in a pool sized for the machines, those of a machine as soon as it has its
    image; errors stay with their seat."""
    workers = min(IDES_PER_CORE * context.cpus(), _MOST_WORKERS, len(seats))
    ready, counting = 0, Lock()

    def finish(seat: _Seat) -> None:
        nonlocal ready
        try:
            with faults_of(seat.workspace.name):
                seat.changed = _finish_one(context, images, seat)
        except AtelierError as error:
            seat.changed, seat.error = True, error
        with counting:
            ready += seat.error is None
            context.progress(Message("step.seats_ready"), ready, len(seats))

    with ThreadPoolExecutor(workers) as pool:
        begun = [pool.submit(finish, seat) for seat in seats if not seat.make]
        for image in as_completed(set(images.values())):
            begun += [pool.submit(finish, seat) for seat in seats if seat.make and images[seat.workspace.node] is image]
    for future in begun:
        future.result()


def _finish_one(context: Context, images: Mapping[str, Future[str]], seat: _Seat) -> bool:
    if seat.make:
        with context.locks.workspace(seat.workspace.id, context.lock_wait):
            # It may have been deleted meanwhile, or created by another run.
            row = context.store.get(id=seat.workspace.id, field="names")
            if _is_unmade(context, row):
                check_restored(row)
                _make(context, images[row.node], seat, row)
                return True
    return _start(context, seat)


def _make(context: Context, image: Future[str], seat: _Seat, row: Workspace) -> None:
    """Creates the seat's container. A failure leaves the row ``error`` and no container, unless its IDE did not answer:
    then the container is kept. If the engine is unavailable the row stays ``creating``."""
    if row.password_hash != seat.password_hash:
        context.store.update(row.id, password_hash=seat.password_hash)
        context.sync_ports()
        row = row._replace(password_hash=seat.password_hash)
    try:
        found = image.result()
        here = context.at(row)
        with faults_of(row.name), repository_for(here, row, wanted=row.repository is not None) as push:
            make_seat(here, row, found, push)
        context.store.update(row.id, unreleased=None)
    except AtelierError as error:
        if error.code is not Code.IDE_NOT_READY and not is_engine_away(error):
            with suppress(AtelierError):
                discard_container(context.at(row), row)
            context.store.update(row.id, status=Status.ERROR, error=error.message)
        raise


def _start(context: Context, seat: _Seat, *, check_mode: bool = False) -> bool:
    # Only a start of that very seat returns it to the pool with its former participant's files.
    wanted = WorkspaceSpec(WorkspaceState.STARTED, id=seat.workspace.id, password=seat.password, released_only=True)
    return ensure(context, wanted, check_mode=check_mode).changed


def _roll_back(context: Context, run_id: str, seats: Sequence[_Seat], error: AtelierError) -> None:
    """Cleans up: removes fresh rows, unless their seat is up or its container was kept for debugging."""
    for seat in seats:
        is_up = seat.changed and not seat.error
        kept = seat.error is not None and seat.error.code is Code.IDE_NOT_READY
        # A row whose container can't be removed now stays with it, for the next run or reconcile.
        with suppress(AtelierError):
            if seat.fresh and not is_up and not kept:
                discard_container(context.at(seat.workspace), seat.workspace)
                context.store.delete(seat.workspace.id)
                end_access(context, seat.workspace.id)
            elif seat.make and not is_up and not kept:
                check_restored(context.store.get(id=seat.workspace.id))  # the error of such a one stays
                context.store.update(seat.workspace.id, status=Status.ERROR, error=(seat.error or error).message)
    with suppress(AtelierError):
        context.store.close_batch(run_id)
        context.sync_routes()


def _note(context: Context, order: CloneOrder, seats: Sequence[_Seat]) -> None:
    if order.sheet:
        order.sheet.write([_seat_view(context, seat) | {"password": seat.password} for seat in seats])


def _seat_view(context: Context, seat: _Seat) -> dict[str, object]:
    row = context.store.find(id=seat.workspace.id) or seat.workspace._replace(status=Status.ERROR)
    return {
        **view(context.site, row, row.status, row.error),
        **({"error": seat.error.message} if seat.error else {}),
        "changed": seat.changed,
        "password": seat.password if seat.new_password else None,
    }


def _planned_view(context: Context, seat: _Seat) -> dict[str, object]:
    return {
        **view(context.site, seat.workspace, Status.RUNNING),
        **(UNKNOWN if seat.make and seat.fresh else {}),
        "changed": seat.changed,
        "password": None,
    }
