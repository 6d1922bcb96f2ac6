"""Fetches a workspace's files from a git repository, with git in the seat, as the seat's user."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Status, Workspace
from ..common.plain_text import last_of
from ..engine.models import File
from ..git.urls import GitAccess
from .container import CONFIG_FOLDER, put_config
from .context import NodeContext
from .save_work import cause

# In the volume, which no commit of the container contains, and deleted as soon as git is done.
_ACCESS_FILE = PurePosixPath(CONFIG_FOLDER, "git-clone")
_MESSAGE_LENGTH = 600
# Where nobody says how long git may take.
FETCH_SECONDS = 300.0
# Seconds for removing the old files and moving the new ones.
_MOVE_SECONDS = 120.0
_REMOVE_SECONDS = 15.0

_FETCH = Path(__file__).parent / "scripts" / "fetch_repository.sh"


def fetch(context: NodeContext, workspace: Workspace, access: GitAccess | None, seconds: float) -> None:
    """Replaces what the template put into ``/workspace`` by the repository at the row's ``git_url``.

    Git may take ``seconds``. A failure marks the row ``error`` and raises GIT_CLONE_FAILED with git's message, from
    which everything of ``access`` is taken out; the container stays as it is.
    """
    if workspace.git_url is None:
        return
    context.progress(Message("step.fetch", name=workspace.name), 0, 1)
    name = context.site.container_name(workspace.id)
    parts = urlsplit(workspace.git_url)
    origin = f"{parts.scheme.lower()}://{parts.netloc}"
    order = [workspace.git_url, origin, f"{seconds:g}", str(_ACCESS_FILE)]
    with _access_in_seat(context, workspace, access):
        command = ["/bin/sh", "-c", _FETCH.read_text(), "fetch", *order]
        try:
            code, output = context.engine.execute(name, command, seconds=seconds + _MOVE_SECONDS)
        except AtelierError as error:
            # A run that did not keep a limit has failed like any other.
            if "limit" not in error.details:
                raise
            code, output = 1, error.message
    if code == 0:
        context.store.update(workspace.id, git_pending=None)
        return
    said = last_of(_without(access, output), _MESSAGE_LENGTH)
    message = Message("not_cloned", url=workspace.git_url, said=cause(said, code, seconds))
    context.store.update(workspace.id, status=Status.ERROR, error=message)
    raise AtelierError(Code.GIT_CLONE_FAILED, message, field="git_url", workspace=workspace.id, container=name)


@contextmanager
def _access_in_seat(context: NodeContext, workspace: Workspace, access: GitAccess | None) -> Iterator[None]:
    """Puts the file with user and token, which git reads, into the seat for the block."""
    if access is None:
        yield
        return
    container = context.site.container_name(workspace.id)
    try:
        put_config(context, workspace, {_ACCESS_FILE.name: access.for_git()})
        yield
    finally:
        # Empty it first: the seat may prevent every program from starting. If the engine is gone, the seat and its
        # volume are created again.
        with suppress(AtelierError):
            context.engine.put(container, CONFIG_FOLDER, [File(_ACCESS_FILE, b"", uid=0, gid=0, mode=0)])
            command = ["/bin/rm", "-f", str(_ACCESS_FILE)]
            context.engine.execute(container, command, seconds=_REMOVE_SECONDS, user="root")


def _without(access: GitAccess | None, text: str) -> str:
    """The text without the token in any encoding, because a server may repeat it."""
    if access is None:
        return text
    basic = base64.b64encode(f"{access.user}:{access.token}".encode()).decode()
    for secret in (basic, access.token, quote(access.token, safe="")):
        text = text.replace(secret, "***")
    return text
