"""A workspace's repository on the git server and its clones' branches; the seat itself pushes.

Git failures never fail a workspace; they are reported as a message, and another run retries. The seat's credential is
in the volume that no commit contains and, for git, on the seat's tmpfs; it is in no address, environment or image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message, id_of
from ..common.models import GIT_HOST, Workspace
from ..common.plain_text import last_of, on_one_line
from ..database.claims import was_released
from ..git.client import Forge, open_forge, require_git, seats_of
from ..git.names import MAIN, candidates, repository_name, seat_branch
from ..git.urls import GitAccess
from .container import CONFIG_FOLDER, put_config
from .context import Context, NodeContext
from .save_work import cause, seat_email

# Maximum seconds for one response of the git server, so that no workspace waits longer.
_PATIENCE = 5.0
# Seconds for one command of git in the seat.
_GIT_SECONDS = 60
# Seconds for all of them: those that need long are a commit, a push and a fetch.
_CONNECT_SECONDS = 3 * _GIT_SECONDS + 10
_MESSAGE_LENGTH = 400
_LARGEST_GIT_FILE = 65536
_TRIED_NAMES = 50

_CONNECT = Path(__file__).parent / "scripts" / "connect_repository.sh"


@contextmanager
def repository_for(
    context: NodeContext, workspace: Workspace, wanted: bool, *, restore: bool = False
) -> Iterator[Callable[[], None]]:
    """Has the git server get ready for the workspace while its container is being made in the block.

    Yields a function to call when the container runs: the seat then pushes, or with ``restore`` fetches its pushed
    state, unless that may be a former participant's. Never raises for git failures; they are stored in the row's
    ``git_problem``.
    """
    if not wanted:
        yield lambda: None
    elif context.site.git is None:
        # No message if it was pushed before the git server was disabled.
        problem = None if workspace.repository else Message("no_git_server_for", name=workspace.name)
        yield lambda: context.store.update(workspace.id, git_problem=problem)
    else:
        restore = restore and not was_released(context.store, workspace.id)
        with ThreadPoolExecutor(1) as beside:
            promise = beside.submit(grant, context, workspace)
            yield lambda: _push(context, workspace, promise, restore)


def _push(context: NodeContext, workspace: Workspace, promise: Future[Grant], restore: bool) -> None:
    """Configures the running seat's git user, origin and credential, and pushes its branch."""
    context.progress(Message("step.push", name=workspace.name), 0, 1)
    try:
        granted = promise.result()
        _put_git_files(context, workspace, granted)
        url = require_git(context.site).seat_url(granted.repository)
        order = [granted.branch, url, str(_GIT_SECONDS), "restore" if restore else ""]
        name, command = context.site.container_name(workspace.id), ["/bin/sh", "-c", _CONNECT.read_text(), "connect"]
        code, output = context.engine.execute(name, [*command, *order], seconds=_CONNECT_SECONDS)
        if code != 0:
            said = last_of(on_one_line(output.replace(granted.credential.token, "***")), _MESSAGE_LENGTH)
            raise AtelierError(Code.GIT_ERROR, Message("git_failed", said=cause(said, code, _GIT_SECONDS)))
        context.store.update(workspace.id, branch=granted.branch, git_problem=None)
    except AtelierError as error:
        # Not an error of git: the creation itself is interrupted.
        if error.code is Code.REGISTRY_ERROR or error.details.get("field") == "site.engine_url":
            raise
        id = "no_repository" if workspace.cloned_from is None else "on_main"
        context.store.update(workspace.id, git_problem=Message(id, name=workspace.name, said=error.message))


@dataclass(frozen=True)
class Grant:
    """A seat's repository and branch on the git server."""

    repository: str
    branch: str
    credential: GitAccess


def grant(context: Context, workspace: Workspace) -> Grant:
    """Creates the workspace's repository, or a clone's branch in its source's, and grants the seat access. It needs no
    container. Safe to repeat. Raises the errors of ``forge``."""
    forge = open_forge(context.site, _PATIENCE)
    if workspace.cloned_from is not None and workspace.repository is not None:
        repository, branch = workspace.repository, _own_branch(context, forge, workspace)
    else:
        repository, branch = workspace.repository or _own_repository(context, forge, workspace), MAIN
        context.store.update(workspace.id, repository=repository)
    user, former_user = seats_of(context.site, workspace.id)
    granted = Grant(repository, branch, forge.grant_seat(repository, user, branch))
    if workspace.branch is not None and former_user != user:
        # An older Atelier gave the seat a token of a user with the workspace's id.
        forge.revoke_seat(former_user)
    return granted


def renew_credential(context: NodeContext, workspace: Workspace, *, failed: str = "keeps_access") -> None:
    """Ends the token that the seat pushes with, which its user may have copied, and puts another into the container,
    which loads it when it starts. Does nothing for a seat without a branch. A failure of git is noted in the row, as
    the message ``failed``."""
    if context.site.git is None or workspace.branch is None:
        return
    try:
        granted = grant(context, workspace)
    except AtelierError as error:
        if error.code is Code.REGISTRY_ERROR:
            raise
        problem = Message(failed, name=workspace.name, said=error.message)
        context.store.update(workspace.id, git_problem=problem)
        return
    _put_git_files(context, workspace, granted)
    if id_of(workspace.git_problem) == "keeps_access":
        context.store.update(workspace.id, git_problem=None)


def git_files(context: NodeContext, workspace: Workspace) -> dict[str, bytes]:
    """The seat's git settings and its credential, which no image contains, by the names of their files."""
    name, found = context.site.container_name(workspace.id), {}
    for file in ("gitconfig", "git-credential"):
        archive = context.engine.read(name, f"{CONFIG_FOLDER}/{file}", _LARGEST_GIT_FILE, lambda _: False)
        content = archive.first_file() if archive else None
        if content is not None:
            found[file] = content
    return found


def _put_git_files(context: NodeContext, workspace: Workspace, granted: Grant) -> None:
    """Writes git's settings, which the image's own include (the user's go before them), and the credential as git's
    helper in the seat prints it."""
    server = f"http://{GIT_HOST}:{require_git(context.site).seat_port}"
    # proactiveAuth: git need not be refused once before it asks the helper.
    settings = (
        f"[user]\n\tname = {workspace.name}\n\temail = {seat_email(context, workspace)}\n"
        f'[credential "{server}"]\n\thelper = seat\n[http "{server}"]\n\tproactiveAuth = basic\n'
    )
    files = {"gitconfig": settings.encode(), "git-credential": granted.credential.for_git()}
    put_config(context, workspace, files)


def end_access(context: Context, workspace_id: str) -> str | None:
    """Revokes the access of a deleted workspace, if the git server answers. Pushed commits stay.

    Returns a message on failure; ``reconcile`` then retries.
    """
    if workspace_id not in context.store.unrevoked() or context.site.git is None:
        return None
    try:
        open_forge(context.site, _PATIENCE).revoke_seat(*seats_of(context.site, workspace_id))
    except AtelierError as error:
        return Message("git.access_left", workspace=workspace_id, why=error.message)
    context.store.revoked(workspace_id)
    return None


def _own_repository(context: Context, forge: Forge, workspace: Workspace) -> str:
    """The name of the workspace's repository: one that a killed run created for it, or a new one. It is recognised by a
    mark in it, which seats may read."""
    mark = f"({context.site.public_name(workspace.id)})"
    name = repository_name(workspace.name)
    for candidate in islice(candidates(name), _TRIED_NAMES):
        present = forge.repository(candidate)
        if present is None:
            break
        if present.description.endswith(mark):
            return present.name
    description = f"Workspace {workspace.name} {mark}"
    return forge.create_repository(name, description=description, private=True, suffix=True).name


def _own_branch(context: Context, forge: Forge, workspace: Workspace) -> str:
    """Creates its branch. An existing branch is used if no workspace uses it; it may be of an earlier workshop, or of a
    seat whose name differs only in case."""
    repository = str(workspace.repository)
    if workspace.branch is not None:
        forge.ensure_branch(repository, workspace.branch)
        return workspace.branch
    branch = seat_branch(workspace.name)
    if forge.ensure_branch(repository, branch) or _is_unused(context, forge, workspace, branch):
        return branch
    branch = f"{branch[:90]}-{context.site.public_name(workspace.id)[:6]}"
    forge.ensure_branch(repository, branch)
    return branch


def _is_unused(context: Context, forge: Forge, workspace: Workspace, branch: str) -> bool:
    """Whether the branch holds nothing beyond main, and no other workspace has it or could have had it made."""
    commits = forge.branches(str(workspace.repository))
    return commits.get(branch) == commits.get(MAIN) and not any(
        branch in (other.branch, seat_branch(other.name))
        for other in context.store.all()
        if other.repository == workspace.repository and other.id != workspace.id
    )
