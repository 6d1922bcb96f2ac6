"""Brings one workspace to its desired state by applying the plan's steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace

from ..common.egress_modes import DEFAULT_MODE, Capability, ProxyMode
from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Limits, Status, StopReason, Workspace
from ..common.passwords import generate_password, hash_password, verify_password
from ..common.validation import check_limits, check_name
from ..containers.container import (
    apply_ide_config,
    await_ide,
    container_of,
    discard_container,
    is_healthy,
    make_seat,
    start_container,
)
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.git_import import fetch
from ..containers.git_provisioning import end_access, repository_for
from ..containers.node_lists import ready_proxy
from ..containers.snapshots import forget_snapshot, recover, was_interrupted
from ..containers.template_images import TemplateImages
from ..database.intent import has_other_password, stopped_on_purpose, to_stay_stopped
from ..database.lasting_errors import shown
from ..database.workspace_store import new_id
from ..engine.models import Container
from ..recordings.folders import recorded_anywhere
from ..recordings.store import remove_recordings
from .checkpoints import remove_checkpoints
from .kept_containers import previous_container, remove_replaced, restore_previous_container
from .lost_machine import finish, unfinished
from .plan import (
    Step,
    WorkspaceSpec,
    WorkspaceState,
    check_desired,
    check_unchangeable,
    details_of,
    limits_of,
    plan_workspace,
    template_of,
)
from .views import UNKNOWN, Change, current_view, observed_view, view

# After these errors the workspace's row says why it failed.
_MARKED = (Code.IDE_NOT_READY, Code.GIT_CLONE_FAILED)


@dataclass(frozen=True)
class EnsureResult(Change):
    """``password`` is the one that was made up in this run."""

    warnings: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)


def ensure(context: Context, desired: WorkspaceSpec, *, check_mode: bool = False) -> EnsureResult:
    """Brings one workspace to the desired state, or returns the changes. Safe to repeat after an interruption.

    Raises the validation codes for bad input, and the errors of the engine and the database. If creation fails, nothing
    is left behind; if only the IDE does not answer, the workspace stays with status ``error``.
    """
    check_desired(context.site, desired)
    held = desired.sheet.held(context.locks, context.lock_wait) if desired.sheet and not check_mode else nullcontext()
    with held:
        return _ensure(context, desired, check_mode)


def _ensure(context: Context, desired: WorkspaceSpec, check_mode: bool) -> EnsureResult:
    found = context.store.find(id=desired.id, name=desired.name)
    desired, made_up = _with_password(context, desired, found)
    made_by_id = desired.id is not None and desired.state is not WorkspaceState.ABSENT
    if found is None and (desired.must_exist or made_by_id):
        context.store.get(id=desired.id, name=desired.name)
    lock = nullcontext() if found is None or check_mode else context.locks.workspace(found.id, context.lock_wait)
    with lock:
        # Read again, because the previous holder of the lock may have changed or removed it.
        workspace = context.store.find(id=found.id) if found else None
        if workspace is None and made_by_id:
            context.store.get(id=desired.id)
        here = _place(context, workspace, desired)
        workspace, container = _with_container(here, workspace, desired, check_mode)
        if workspace is not None:
            check_unchangeable(desired, workspace)
        steps = plan_workspace(
            desired,
            workspace,
            container,
            password_differs=_password_differs(desired, workspace),
            interrupted=workspace is not None and was_interrupted(context, workspace),
            answers=desired.state is not WorkspaceState.STARTED or _answers(here, container),
            git_server=context.site.git is not None,
        )
        before = observed_view(context.site, workspace, container) if workspace else {}
        if Step.BUILD in steps:
            TemplateImages.of(context.on()).require(template_of(desired, workspace), check_mode=check_mode)
        if check_mode:
            return EnsureResult(bool(steps), before, _dry_run(context, desired, workspace, before, steps))
        if desired.state is WorkspaceState.STOPPED and workspace is not None and Step.STOP not in steps:
            # An outage may have stopped it, which is not for good. The database may not know of that yet.
            stay = stopped_on_purpose if workspace.status is Status.RUNNING else to_stay_stopped
            stay(context.store, workspace.id, desired.stop_reason)
        if not steps:
            if desired.state is WorkspaceState.ABSENT:
                context.sync_routes()  # a removal that was killed may have left its route
            if desired.sheet and before:
                # A change that was killed may have left its row without address and state.
                desired.sheet.write([before])
            return EnsureResult(False, before, before, _git_warnings(context, desired, workspace))
        warnings = _warnings(workspace, steps)
        if desired.sheet and desired.password:
            desired.sheet.note(_name_of(desired, found), desired.password)
        try:
            if workspace is None:
                workspace = _create(context, desired, steps)
            elif Step.REMOVE in steps:
                warnings += remove(here, workspace)
                workspace = None
            else:
                workspace = _apply(here, desired, workspace, steps)
        except AtelierError as error:
            if error.code is Code.PROJECT_EXISTS and Step.RESERVE in steps:
                # It was created meanwhile: plan again.
                return _ensure(context, desired, check_mode)
            raise
        after = current_view(context, workspace) if workspace else {}
        if desired.sheet and after:
            desired.sheet.write([after])
        return EnsureResult(True, before, after, warnings + _git_warnings(context, desired, workspace), made_up)


def _place(context: Context, workspace: Workspace | None, desired: WorkspaceSpec) -> NodeContext:
    if workspace is None:
        return context.on()
    return context.left_of(workspace) if desired.state is WorkspaceState.ABSENT else context.at(workspace)


def _with_container(
    here: NodeContext, workspace: Workspace | None, desired: WorkspaceSpec, check_mode: bool
) -> tuple[Workspace | None, Container | None]:
    """The row and its container. After a reset or an upgrade that was killed between its two renames, the previous
    container gets its name back, or is only looked at in a dry run."""
    container = container_of(here, workspace) if workspace else None
    if workspace is None or container is not None:
        return workspace, container
    if workspace.status is Status.CREATING or desired.state is WorkspaceState.ABSENT:
        return workspace, None
    if check_mode:
        return workspace, previous_container(here, workspace.id)
    restore_previous_container(here, workspace)
    workspace = here.store.get(id=workspace.id)
    return workspace, container_of(here, workspace)


def _with_password(
    context: Context, desired: WorkspaceSpec, found: Workspace | None
) -> tuple[WorkspaceSpec, str | None]:
    """The wish with the password that the sheet has, unless the workspace was given another one since, or else one made
    up if that is wanted and nobody knows one."""
    said = desired.password is not None or desired.password_hash is not None or desired.remove_password
    if said or desired.state is WorkspaceState.ABSENT:
        return desired, None
    noted = desired.sheet.password(_name_of(desired, found)) if desired.sheet else None
    if noted and found and found.status is not Status.CREATING and has_other_password(context.store, found.id):
        return desired, None
    # The password of an interrupted creation was never shown.
    unknown = found is None or found.status is Status.CREATING or desired.sheet is not None
    made_up = generate_password() if desired.generate_password and unknown and noted is None else None
    return replace(desired, password=noted or made_up), made_up


def _name_of(desired: WorkspaceSpec, found: Workspace | None) -> str:
    return desired.name or (found.name if found else "")


def _apply(here: NodeContext, desired: WorkspaceSpec, workspace: Workspace, steps: Sequence[Step]) -> Workspace:
    actions: dict[Step, Callable[[Workspace], object]] = {
        Step.RESTORE: lambda row: recover(here, row),
        Step.DETAILS: lambda row: here.store.update(row.id, **details_of(desired, row)),
        Step.PASSWORD: lambda row: _change_password(here, row, _hash_of(desired)),
        Step.LIMITS: lambda row: _change_limits(here, row, limits_of(desired, row)),
        Step.BUILD: lambda row: _build(here, desired, row),
        Step.START: lambda row: _start(here, desired, row),
        Step.FETCH: lambda row: fetch(here, row, desired.git_access, desired.git_timeout),
        Step.REPOSITORY: lambda row: _give_repository(here, row),
        Step.STOP: lambda row: _stop(here, row, desired.stop_reason),
    }
    for step in steps:
        actions[step](workspace)
        workspace = here.store.get(id=workspace.id)
    return workspace


def _create(context: Context, desired: WorkspaceSpec, steps: Sequence[Step]) -> Workspace:
    # Locked before the row exists, so that no other run finds a "creating" row without a lock.
    id = new_id()
    with context.locks.workspace(id, context.lock_wait):
        (workspace,) = context.store.reserve([_order(context, desired, id)], context.engines.machines())
        try:
            here = context.at(workspace)
            _build(here, desired, workspace)
        except AtelierError as error:
            if error.code not in _MARKED:
                # If the engine is gone this fails, too; the next run then continues with the row.
                with suppress(AtelierError):
                    remove(context.at(workspace), workspace)
            raise
        if Step.STOP in steps:
            _stop(here, workspace, desired.stop_reason)
    return context.store.get(id=workspace.id)


def _order(context: Context, desired: WorkspaceSpec, id: str) -> Workspace:
    limits = limits_of(desired, None)
    return Workspace(
        id=id,
        name=check_name(desired.name or ""),
        template=template_of(desired, None),
        limits=check_limits(limits.memory, limits.cpus, context.site.quotas),
        proxy_mode=ProxyMode(desired.proxy_mode or DEFAULT_MODE),
        group=desired.group,
        git_url=desired.git_url,
        notes=desired.notes or "",
        node_labels=context.engines.node_labels(desired.nodes),
        password_hash=_hash_of(desired),
    )


def _hash_of(desired: WorkspaceSpec) -> str | None:
    return hash_password(desired.password) if desired.password is not None else desired.password_hash


def remove(context: NodeContext, workspace: Workspace) -> list[str]:
    """Removes container, volume, row, route and access to the git server, in an order that can be resumed after an
    interruption. Pushed work stays. Returns sentences on what could not be done."""
    remove_replaced(context, workspace.id)
    remove_checkpoints(context, workspace.id)
    discard_container(context, workspace)
    forget_snapshot(context, workspace.id)
    context.store.delete(workspace.id)
    context.sync_routes()
    if workspace.proxy_mode.can(Capability.RECORD):
        # The recorder writes nothing for a workspace that it no longer knows.
        with suppress(AtelierError):  # a machine that is away now: reconcile removes what it has
            ready_proxy(context, workspace)
        remove_recordings(recorded_anywhere(context.site, context.engines.of, workspace.id))
    problem = end_access(context, workspace.id)
    return [problem] if problem else []


def _build(context: NodeContext, desired: WorkspaceSpec, workspace: Workspace) -> None:
    context.progress(Message("step.start", name=workspace.name), 0, 1)
    context.sync_routes()
    wanted = desired.git_repo or workspace.repository is not None
    with repository_for(context, workspace, wanted, restore=workspace.branch is not None) as push:

        def fill() -> None:
            fetch(context, workspace, desired.git_access, desired.git_timeout)
            push()

        template = context.site.template_image(workspace.template)
        make_seat(context, workspace, image_at(context, context.on(), template), fill)
    context.store.update(workspace.id, unreleased=None)
    context.progress(Message("step.start", name=workspace.name), 1, 1)


def _start(context: NodeContext, desired: WorkspaceSpec, workspace: Workspace) -> None:
    bring_up(context, workspace)
    # The person who asks for a start decides that a seat whose release failed can be used. One that failed meanwhile is
    # not known to them.
    if desired.state is WorkspaceState.STARTED and workspace.unreleased is not None:
        context.store.update(workspace.id, unreleased=None)


def _give_repository(context: NodeContext, workspace: Workspace) -> None:
    with repository_for(context, workspace, wanted=True) as push:
        push()


def bring_up(context: NodeContext, workspace: Workspace) -> None:
    """Starts the container that the workspace has and awaits its IDE. If a killed run began it on another machine, this
    also finishes that. The caller holds the workspace's lock. Raises CONCURRENT_LIMIT_REACHED, NO_ROOM, IDE_NOT_READY
    and what the engine raises."""
    name = context.site.container_name(workspace.id)
    container = context.engine.inspect(name)
    begun = unfinished(context.store).get(workspace.id)
    context.store.claim_running_slot(workspace.id, memory=context.engines.memory())
    try:
        if begun:
            if container is not None and container.status != "created":
                context.engine.stop(name)
            finish(context, context.store.get(id=workspace.id), begun)
        elif container is not None and container.status == "paused" and workspace.unreleased is None:
            context.engine.unpause(name)
        else:
            # For a container in a crash loop: Docker waits longer after each exit, and reports a start in between as
            # successful.
            context.engine.stop(name)
            start_container(context, workspace)
    except AtelierError as error:
        if error.code not in _MARKED:
            context.store.update(workspace.id, status=Status.STOPPED)
        raise
    await_ide(context, workspace)


def _stop(context: NodeContext, workspace: Workspace, reason: StopReason) -> None:
    context.engine.stop(context.site.container_name(workspace.id))
    stopped_on_purpose(context.store, workspace.id, reason)


def _change_password(context: NodeContext, workspace: Workspace, password_hash: str | None) -> None:
    """Gives container and row another password, or none. The caller holds the workspace's lock.

    Changes the container first and the row last, so that a killed run is repeated.
    """
    changed = workspace._replace(password_hash=password_hash)
    container = container_of(context, workspace)
    # Leftovers of an interrupted creation are replaced anyway, and may not even start.
    if container is not None and workspace.status is not Status.CREATING:
        apply_ide_config(context, changed, container)
    context.store.update(workspace.id, password_hash=password_hash)
    context.sync_ports()


def _change_limits(context: NodeContext, workspace: Workspace, limits: Limits) -> None:
    context.store.check_growth(workspace.id, limits, context.engines.memory())
    name = context.site.container_name(workspace.id)
    if context.engine.inspect(name) is not None:
        context.engine.update_limits(name, limits.memory_bytes, float(limits.cpus))
    context.store.update(workspace.id, memory=limits.memory, cpus=limits.cpus)


def _answers(context: NodeContext, container: Container | None) -> bool:
    """Whether the IDE responds. Checked only for containers that Docker has restarted, because a crash-looping
    container briefly looks healthy."""
    if container is None or container.status != "running" or container.restarts == 0 or container.address is None:
        return True
    return is_healthy(container.address, context.route)


def _password_differs(desired: WorkspaceSpec, workspace: Workspace | None) -> bool:
    if workspace is None:
        return False
    if desired.password is not None:
        return workspace.password_hash is None or not verify_password(workspace.password_hash, desired.password)
    if desired.password_hash is not None:
        return workspace.password_hash != desired.password_hash
    return desired.remove_password and workspace.password_protected


def _warnings(workspace: Workspace | None, steps: Sequence[Step]) -> list[str]:
    if workspace is None or Step.BUILD not in steps or workspace.status is Status.CREATING:
        return []
    return [Message("made_from_template", name=workspace.name, template=workspace.template)]


def _git_warnings(context: Context, desired: WorkspaceSpec, workspace: Workspace | None) -> list[str]:
    if workspace is None or desired.state is WorkspaceState.ABSENT:
        return []
    if desired.git_repo and context.site.git is None and not workspace.repository:
        return [Message("no_git_server_for", name=workspace.name)]
    return [workspace.git_problem] if workspace.git_problem else []


def _dry_run(
    context: Context,
    desired: WorkspaceSpec,
    workspace: Workspace | None,
    before: Mapping[str, object],
    steps: Sequence[Step],
) -> dict[str, object]:
    """The view after applying the steps, for a dry run."""
    starts = Step.BUILD in steps or Step.START in steps
    if Step.REMOVE in steps or (workspace is None and not steps):
        return {}
    if workspace is None:
        (workspace,) = context.store.reserve([_order(context, desired, new_id())], dry_run=True)
    # Refuse early what the database would refuse.
    if details := details_of(desired, workspace):
        context.store.update(workspace.id, True, **details)
    if Step.LIMITS in steps:
        context.store.check_growth(workspace.id, limits_of(desired, workspace), context.engines.memory())
    if before and starts:
        context.store.claim_running_slot(workspace.id, memory=context.engines.memory(), dry_run=True)
    planned = workspace._replace(
        name=desired.name or workspace.name,
        group=desired.group or workspace.group,
        notes=workspace.notes if desired.notes is None else desired.notes,
        limits=limits_of(desired, workspace),
    )
    after = {**view(context.site, planned, workspace.status), "error": None, **({} if before else UNKNOWN)}
    if Step.PASSWORD in steps:
        after["password_protected"] = not desired.remove_password
    if starts or Step.STOP in steps:
        frees = Step.BUILD in steps or desired.state is WorkspaceState.STARTED
        present = workspace._replace(unreleased=None) if frees else workspace
        status, error = shown(present, Status.STOPPED if Step.STOP in steps else Status.RUNNING, None)
        return {**after, "status": str(status), "error": error}
    return {**after, "status": before["status"], "error": before["error"]}
