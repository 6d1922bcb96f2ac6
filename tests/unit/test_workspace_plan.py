"""The steps from the present to the desired state of a workspace, as a table."""

from __future__ import annotations

from contextlib import nullcontext as does_not_raise
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import GIT_IMPORT, Limits, ProxyMode, Status
from atelier.git.urls import GitAccess
from atelier.workspaces.plan import (
    Step,
    WorkspaceSpec,
    WorkspaceState,
    check_desired,
    check_unchangeable,
    plan_workspace,
)
from support import container, refused, row, site

R, B, START, STOP, REMOVE = Step.RESERVE, Step.BUILD, Step.START, Step.STOP, Step.REMOVE
PRESENT, STARTED, STOPPED, ABSENT = (
    WorkspaceState.PRESENT,
    WorkspaceState.STARTED,
    WorkspaceState.STOPPED,
    WorkspaceState.ABSENT,
)


@pytest.mark.parametrize(
    ("state", "steps"), [(PRESENT, [R, B]), (STARTED, [R, B]), (STOPPED, [R, B, STOP]), (ABSENT, [])]
)
def test_nothing_is_there(state: WorkspaceState, steps: list[Step]) -> None:
    assert plan_workspace(WorkspaceSpec(state, name="base"), None, None) == steps


@pytest.mark.parametrize(
    ("docker", "present", "started", "stopped"),
    [
        ("running", [], [START], [STOP]),
        ("exited", [], [START], []),
        (None, [B], [B], []),
    ],
)
def test_a_start_that_is_asked_for_starts_an_unreleased_seat_again(
    docker: str | None, present: list[Step], started: list[Step], stopped: list[Step]
) -> None:
    """Its former participant's programs may still run."""
    workspace = row(status=Status.RUNNING, unreleased="Docker is away.")
    seen = container(docker) if docker else None
    for state, steps in ((PRESENT, present), (STARTED, started), (STOPPED, stopped)):
        assert plan_workspace(WorkspaceSpec(state, name="base"), workspace, seen) == steps


@pytest.mark.parametrize(
    ("status", "docker", "present", "started", "stopped"),
    [
        (Status.RUNNING, "running", [], [], [STOP]),
        (Status.RUNNING, "paused", [], [START], [STOP]),
        (Status.RUNNING, "exited", [], [START], []),
        (Status.RUNNING, "restarting", [START], [START], [STOP]),
        (Status.STOPPED, "exited", [], [START], []),
        (Status.STOPPED, "running", [], [], [STOP]),
        (Status.ERROR, "running", [START], [START], [STOP]),
        (Status.ERROR, "exited", [START], [START], [STOP]),
        (Status.RUNNING, None, [B], [B], []),
        (Status.ERROR, None, [B], [B], []),
        (Status.CREATING, None, [B], [B], [B, STOP]),
        (Status.CREATING, "created", [B], [B], [B, STOP]),
        (Status.CREATING, "running", [B], [B], [B, STOP]),
    ],
)
def test_a_row_and_its_container(
    status: Status, docker: str | None, present: list[Step], started: list[Step], stopped: list[Step]
) -> None:
    workspace, seen = row(status=status), container(docker) if docker else None
    assert plan_workspace(WorkspaceSpec(PRESENT, name="base"), workspace, seen) == present
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), workspace, seen) == started
    assert plan_workspace(WorkspaceSpec(STOPPED, name="base"), workspace, seen) == stopped
    assert plan_workspace(WorkspaceSpec(ABSENT, name="base"), workspace, seen) == [REMOVE]


@pytest.mark.parametrize("state", [PRESENT, STARTED])
def test_a_workspace_whose_files_are_in_a_backup_is_not_made_from_its_template(state: WorkspaceState) -> None:
    """The next backup would have the empty one, and the good one would be forgotten some day."""
    workspace = row(status=Status.ERROR, error=Message("backup.not_restored", why="The disk was full."))
    with pytest.raises(AtelierError) as error:
        plan_workspace(WorkspaceSpec(state, name="base"), workspace, None)
    assert "The disk was full." in refused(error, Code.SNAPSHOT_FAILED, "name")
    assert plan_workspace(WorkspaceSpec(ABSENT, name="base"), workspace, None) == [REMOVE]


@pytest.mark.parametrize("cloned_from", [None, "f" * 12])
@pytest.mark.parametrize("error", ["container_gone", "backup.not_restored"])
def test_a_stop_or_another_password_makes_no_container(cloned_from: str | None, error: str) -> None:
    """A clone has no template to be made from."""
    workspace = row(status=Status.ERROR, error=Message(error, why="The disk was full."), cloned_from=cloned_from)
    assert plan_workspace(WorkspaceSpec(STOPPED, name="base"), workspace, None) == []
    changed = WorkspaceSpec(PRESENT, name="base", must_exist=True)
    assert plan_workspace(changed, workspace, None, password_differs=True, git_server=True) == [Step.PASSWORD]
    creating = row(status=Status.CREATING)
    assert plan_workspace(changed, creating, None, password_differs=True) == [Step.PASSWORD, B]


def test_one_that_runs_for_a_moment_between_two_ends_is_started() -> None:
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), row(), container(restarts=3), answers=False) == [START]
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), row(), container(restarts=3), answers=True) == []


def test_changes_come_in_the_order_in_which_they_are_made() -> None:
    wish = WorkspaceSpec(STARTED, name="base", group="g", memory="4g")
    steps = plan_workspace(
        wish, row(status=Status.STOPPED), container("exited"), password_differs=True, interrupted=True
    )
    assert steps == [Step.RESTORE, Step.DETAILS, Step.PASSWORD, Step.LIMITS, START]
    assert steps == [step for step in Step if step in steps]


def test_what_a_snapshot_paused_goes_on_when_that_is_undone() -> None:
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), row(), container("paused"), interrupted=True) == [
        Step.RESTORE
    ]


def test_what_is_as_wanted_needs_nothing() -> None:
    wish = WorkspaceSpec(PRESENT, name="base", group="g", notes="n", memory="2g", cpus="2", template="empty")
    assert plan_workspace(wish, row(group="g", notes="n"), container()) == []


def test_an_unfinished_clone_is_for_its_clone_order_to_finish() -> None:
    clone = row(cloned_from="ffffffffffff", status=Status.CREATING)
    with pytest.raises(AtelierError) as error:
        plan_workspace(WorkspaceSpec(STARTED, name="base"), clone, None)
    refused(error, Code.WORKSPACE_BUSY, "name")
    with pytest.raises(AtelierError) as error:
        plan_workspace(WorkspaceSpec(STARTED, name="base"), clone._replace(status=Status.RUNNING), None)
    assert "Clone its source again" in refused(error, Code.SNAPSHOT_FAILED, "name")
    assert plan_workspace(WorkspaceSpec(ABSENT, name="base"), clone, None) == [REMOVE]


@pytest.mark.parametrize(
    ("wish", "code", "field"),
    [
        ({}, Code.VALIDATION_ERROR, "name"),
        ({"id": "x"}, Code.VALIDATION_ERROR, "id"),
        ({"name": "a/b"}, Code.INVALID_PROJECT_NAME, "name"),
        ({"name": "base", "memory": "3g"}, Code.VALIDATION_ERROR, "memory"),
        ({"name": "base", "password": "short"}, Code.INVALID_PASSWORD, "password"),
        ({"name": "base", "proxy_mode": ProxyMode.LOGGING}, Code.VALIDATION_ERROR, "proxy_mode"),
    ],
)
def test_what_can_be_refused_before_anything_is_looked_up(wish: dict[str, str], code: Code, field: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_desired(site(Path("/x")), WorkspaceSpec(PRESENT, **wish))  # type: ignore[arg-type]
    refused(error, code, field)


@pytest.mark.parametrize("state", WorkspaceState)
def test_a_ceiling_below_the_default_size_is_in_nobodys_way(state: WorkspaceState) -> None:
    """Existing workspaces keep their size, and can be stopped and removed under any ceiling."""
    with does_not_raise():
        check_desired(site(Path("/x"), memory_mb=1024), WorkspaceSpec(state, name="base"))


def test_what_cannot_change() -> None:
    with pytest.raises(AtelierError) as error:
        check_unchangeable(WorkspaceSpec(PRESENT, name="base", template="nodejs-react"), row())
    refused(error, Code.VALIDATION_ERROR, "template")
    check_unchangeable(WorkspaceSpec(PRESENT, name="base", template="empty"), row())
    check_unchangeable(WorkspaceSpec(ABSENT, name="base", template="nodejs-react"), row())


def test_limits_that_are_not_named_stay() -> None:
    assert (
        plan_workspace(WorkspaceSpec(PRESENT, name="base", cpus="1"), row(limits=Limits("8g", "1")), container()) == []
    )


def test_what_is_fetched_and_pushed_is_so_where_the_seat_runs() -> None:
    pending = row(git_url="https://x.org/a", git_pending=GIT_IMPORT, status=Status.ERROR)
    assert plan_workspace(WorkspaceSpec(PRESENT, name="base"), pending, container()) == [START, Step.FETCH]
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), pending, container("exited")) == [START, Step.FETCH]
    assert plan_workspace(WorkspaceSpec(STOPPED, name="base"), pending, container()) == [STOP]
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), pending, None) == [B]

    wish = WorkspaceSpec(PRESENT, name="base", git_repo=True)
    assert plan_workspace(wish, row(), container(), git_server=True) == [Step.REPOSITORY]
    assert plan_workspace(wish, row(), container(), git_server=False) == []
    assert plan_workspace(wish, row(repository="base", branch="main"), container(), git_server=True) == []
    assert plan_workspace(wish, row(status=Status.STOPPED), container("exited"), git_server=True) == []
    assert plan_workspace(wish, row(), container("paused"), git_server=True) == []
    # A clone whose branch could not be made is given it without being asked for.
    clone = row(repository="base", cloned_from="f" * 12)
    assert plan_workspace(WorkspaceSpec(STARTED, name="base"), clone, container(), git_server=True) == [Step.REPOSITORY]
    assert plan_workspace(WorkspaceSpec(STOPPED, name="base"), clone, container(), git_server=True) == [STOP]


def test_a_token_needs_an_address_that_it_is_for() -> None:
    access = GitAccess("ann", "hush-hush")
    with pytest.raises(AtelierError) as error:
        check_desired(site(Path("/x")), WorkspaceSpec(PRESENT, name="base", git_access=access))
    assert "hush" not in refused(error, Code.VALIDATION_ERROR, "git_url")
    # That of a row that was reserved with its address.
    check_desired(site(Path("/x")), WorkspaceSpec(PRESENT, id="0123456789ab", git_access=access))
    assert "hush" not in repr(WorkspaceSpec(PRESENT, name="base", git_access=access))
