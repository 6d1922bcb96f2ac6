"""The desired state of one workspace, its validation, and the steps to reach it. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.models import CPU_COUNTS, MEMORY_SIZES, Limits, Site, Status, StopReason, Workspace
from ..common.validation import (
    check_group,
    check_id,
    check_limits,
    check_notes,
    check_password,
    check_proxy_mode,
    check_template,
    check_title,
)
from ..containers.container import observed_status
from ..database.lasting_errors import check_restored
from ..engine.models import Container
from ..git.urls import GitAccess, check_git_url
from .credentials_csv import CredentialsCsv

_DEFAULT_TEMPLATE = "empty"
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "id": check_id,
    "name": check_title,
    "template": check_template,
    "group": check_group,
    "notes": check_notes,
    "password": check_password,
    "git_url": check_git_url,
}


class WorkspaceState(StrEnum):
    PRESENT = "present"
    STARTED = "started"
    STOPPED = "stopped"
    ABSENT = "absent"


class Step(StrEnum):
    """A change to a workspace. A plan has them in this order."""

    RESERVE = "reserve"
    RESTORE = "restore"
    DETAILS = "details"
    PASSWORD = "password"  # noqa: S105 - a step's name
    LIMITS = "limits"
    BUILD = "build"
    START = "start"
    FETCH = "fetch"
    REPOSITORY = "repository"
    STOP = "stop"
    REMOVE = "remove"


@dataclass(frozen=True)
class WorkspaceSpec:
    """The desired state of a workspace. None leaves a property as it is, or at its default in a new workspace."""

    state: WorkspaceState
    id: str | None = None
    name: str | None = None
    template: str | None = None
    group: str | None = None
    memory: str | None = None
    cpus: str | None = None
    proxy_mode: str | None = None
    git_url: str | None = None
    git_access: GitAccess | None = field(default=None, repr=False)
    git_timeout: float = 300
    git_repo: bool = False
    notes: str | None = None
    nodes: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    remove_password: bool = False
    must_exist: bool = False
    # Whether a start is refused for a seat whose release failed: it is for many seats, not for that one.
    released_only: bool = False
    generate_password: bool = False
    stop_reason: StopReason = StopReason.PERSON
    sheet: CredentialsCsv | None = None


def plan_workspace(
    desired: WorkspaceSpec,
    workspace: Workspace | None,
    container: Container | None,
    *,
    password_differs: bool = False,
    interrupted: bool = False,
    answers: bool = True,
    git_server: bool = False,
) -> list[Step]:
    """The steps from what is to what is wanted. ``interrupted``: a snapshot of it was, and has to be undone first.
    ``answers``: its IDE does, as far as a container that runs was asked. ``git_server``: whether there is one, on which
    a repository or branch can be had that is missing.

    Raises WORKSPACE_BUSY for a clone that is still to be finished and as ``released_only`` says, SNAPSHOT_FAILED for a
    clone whose container is gone: only its source can make it again.
    """
    if desired.state is WorkspaceState.ABSENT:
        return [] if workspace is None and container is None else [Step.REMOVE]
    if workspace is None:
        return [Step.RESERVE, Step.BUILD] + ([Step.STOP] if desired.state is WorkspaceState.STOPPED else [])
    status, _ = observed_status(workspace, container)
    stopped = desired.state is WorkspaceState.STOPPED
    # Neither a stop nor a change of what is there makes a container that is gone again.
    is_gone = container is None and status is not Status.CREATING
    leave_gone = is_gone and (stopped or (desired.state is WorkspaceState.PRESENT and desired.must_exist))
    build = status is Status.CREATING or (is_gone and not leave_gone)
    if build:
        check_restored(workspace)
        _refuse_unfinished_clone(workspace, status)
        status = Status.RUNNING
    if desired.released_only and workspace.unreleased is not None:
        raise AtelierError(Code.WORKSPACE_BUSY, Message("unreleased", name=workspace.name), field="name")
    asked_for = desired.state is WorkspaceState.STARTED
    wanted_up = asked_for or (desired.state is WorkspaceState.PRESENT and status is Status.ERROR)
    # Undoing an interrupted snapshot also unpauses the container.
    paused = container is not None and container.status == "paused" and not interrupted
    # Its former participant's programs may still run in it.
    unreleased = asked_for and workspace.unreleased is not None and not build
    start = wanted_up and not leave_gone and (paused or not answers or unreleased or status is not Status.RUNNING)
    runs = not stopped and (start or (status is Status.RUNNING and not paused))
    needed = {
        Step.RESTORE: interrupted,
        Step.DETAILS: details_of(desired, workspace),
        Step.PASSWORD: password_differs,
        Step.LIMITS: limits_of(desired, workspace) != workspace.limits,
        Step.BUILD: build,
        Step.START: start,
        # Building does both by itself, the latter beside it.
        Step.FETCH: runs and not build and workspace.git_pending,
        Step.REPOSITORY: runs and not build and git_server and wants_repository(desired, workspace),
        Step.STOP: stopped and status is not Status.STOPPED and not leave_gone,
    }
    return [step for step in Step if needed.get(step)]


def check_desired(site: Site, desired: WorkspaceSpec) -> None:
    """Everything that can be refused before anything is looked up."""
    if desired.id is None and desired.name is None:
        raise invalid("input.exactly_one", "name", names="name, id")
    for name, check in _CHECKS.items():
        if (value := getattr(desired, name)) is not None:
            check(value)
    if desired.proxy_mode is not None:
        check_proxy_mode(desired.proxy_mode, site.networks)
    if desired.git_url is None and desired.git_access is not None and desired.id is None:
        raise invalid("input.requires", "git_url", given="git_token", other="git_url")
    # Only given properties are checked: an existing workspace keeps the others, and can always be stopped or removed.
    smallest_memory, fewest_cpus = next(iter(MEMORY_SIZES)), CPU_COUNTS[0]
    check_limits(desired.memory or smallest_memory, desired.cpus or fewest_cpus, site.quotas)


def check_unchangeable(desired: WorkspaceSpec, workspace: Workspace) -> None:
    if desired.state is WorkspaceState.ABSENT:
        return
    for name in ("template", "proxy_mode", "git_url"):
        wanted, present = getattr(desired, name), getattr(workspace, name)
        if wanted is not None and wanted != present:
            raise invalid(
                "not_changeable", name, name=workspace.name, present=present, wanted=wanted, value=str(wanted)
            )


def _refuse_unfinished_clone(workspace: Workspace, status: Status) -> None:
    if workspace.cloned_from is None:
        return
    if status is Status.CREATING:
        raise AtelierError(Code.WORKSPACE_BUSY, Message("clone_being_made", name=workspace.name), field="name")
    raise AtelierError(Code.SNAPSHOT_FAILED, Message("clone_without_container", name=workspace.name), field="name")


def wants_repository(desired: WorkspaceSpec, workspace: Workspace) -> bool:
    """Whether it is to have a repository, or as a clone a branch in its source's, and nothing was pushed yet."""
    return workspace.branch is None and (desired.git_repo or workspace.repository is not None)


def template_of(desired: WorkspaceSpec, workspace: Workspace | None) -> str:
    return workspace.template if workspace else desired.template or _DEFAULT_TEMPLATE


def limits_of(desired: WorkspaceSpec, workspace: Workspace | None) -> Limits:
    present = workspace.limits if workspace else Limits()
    return Limits(desired.memory or present.memory, desired.cpus or present.cpus)


def details_of(desired: WorkspaceSpec, workspace: Workspace) -> dict[str, str | None]:
    """The columns to set: given properties that differ. A name can differ only if the workspace was found by id."""
    wanted = {
        "name": (desired.name, workspace.name),
        "group_name": (desired.group, workspace.group),
        "notes": (desired.notes, workspace.notes),
    }
    return {column: new for column, (new, old) in wanted.items() if new is not None and new != old}
