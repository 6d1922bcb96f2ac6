"""One seat's container: creates, configures, starts, awaits and removes it.

Used for workspaces from templates and for clones from snapshots.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from types import MappingProxyType

from ..common.errors import AtelierError, Code
from ..common.messages import Message, id_of
from ..common.models import GIT_HOST, IDE_PORT, Status, Workspace
from ..common.plain_text import last_of
from ..common.validation import check_proxy_mode
from ..database.lasting_errors import is_removed
from ..engine.models import Container, File, SeatSpec
from .context import NodeContext
from .node_lists import ready_proxy
from .proxy_environment import proxy_environment, put_proxy_ca, trust_proxy_ca
from .seat_http import DIRECT, SeatResponse, SeatRoute

# The IDE's configuration is in a volume: it survives restarts, and no commit of the container can contain it.
CONFIG_FOLDER = "/etc/code-server"
SNAPSHOT_LABEL = "atelier.snapshot"
# The fields of a row that its container has as labels of the same names; see labels_of for those with others.
LABELED = (
    *("name", "template", "proxy_mode", "created_at", "owner", "group", "cloned_from", "git_url", "repository"),
    "node_labels",
)
_CONFIG_GID = 1000  # the user coder
STOPPED = ("created", "exited")
_POLL_SECONDS = 0.05
_ALIVE_CHECK_SECONDS = 1.0
_HEALTH_SECONDS = 2.0
_MOST_HEALTH = 4096
_LOG_LINES = 15
_LOG_LENGTH = 4000


def make_seat(context: NodeContext, workspace: Workspace, image: str, fill: Callable[[], None]) -> None:
    """Creates, starts and awaits the container of a row, fills it, and marks the row ``running``.

    Until then it is ``creating``, also if it existed before and its container is gone (see ``is_made_again``), so an
    interrupted attempt is repeated. An IDE that does not answer raises IDE_NOT_READY; the row becomes ``error``, and
    the container is kept for debugging. The same applies if ``fill`` fails after recording the error.
    """
    name = context.site.container_name(workspace.id)
    memory = context.engines.memory()
    with context.store.transaction():
        context.store.claim_running_slot(workspace.id, Status.CREATING, memory=memory)
        if workspace.status is not Status.CREATING or is_made_again(workspace):
            context.store.update(workspace.id, error=Message("container_gone"))
    discard_container(context, workspace)
    context.engine.create(seat_spec(context, workspace, image, name))
    start_seat(context, workspace, fill)


def seat_spec(
    context: NodeContext, workspace: Workspace, image: str, name: str, labels: Mapping[str, str] = MappingProxyType({})
) -> SeatSpec:
    """The container of a row, under that name and with these labels besides its own."""
    network = context.site.networks[check_proxy_mode(workspace.proxy_mode, context.site.networks)]
    return SeatSpec(
        name=name,
        hostname=workspace.id,  # what the prompt shows, as in the URL
        image=image,
        network=network.name,
        address=workspace.address,
        memory=workspace.limits.memory_bytes,
        cpus=float(workspace.limits.cpus),
        labels={**labels_of(context, workspace), **labels},
        volume=context.site.volume_name(workspace.id),
        volume_path=CONFIG_FOLDER,
        environment=proxy_environment(context.site, workspace.proxy_mode),
        hosts={GIT_HOST: network.host_address} if context.site.git else {},
        disk=context.site.seat_disk,
        file_size=context.site.seat_file_size,
    )


def start_seat(context: NodeContext, workspace: Workspace, fill: Callable[[], None] = lambda: None) -> None:
    """Starts, awaits and fills a container that was just created, and marks the row ``running``. Raises as
    ``make_seat``."""
    ready_proxy(context, workspace)
    start_container(context, workspace)
    await_ide(context, workspace)
    fill()
    # One that still lacks the files of its repository runs, but is not ready.
    lacks = workspace.error if context.store.get(id=workspace.id).git_pending else None
    context.store.update(workspace.id, status=Status.ERROR if lacks else Status.RUNNING, error=lacks)


def start_container(context: NodeContext, workspace: Workspace) -> None:
    """Starts a container with the row's password and its proxy's authority: a run that was killed before it did so, or
    a person, may have left another password in the volume, and no authority."""
    name = context.site.container_name(workspace.id)
    put_ide_config(context, workspace)
    is_news = put_proxy_ca(context, workspace)
    context.engine.start(name)
    if is_news:
        trust_proxy_ca(context, name)


def discard_container(context: NodeContext, workspace: Workspace) -> None:
    """Removes the workspace's container, its volume, and the snapshot it stood on if it was the last one."""
    remove_container(context, context.site.container_name(workspace.id))
    context.engine.remove_volume(context.site.volume_name(workspace.id))


def remove_container(context: NodeContext, name: str) -> None:
    """Removes a container, if there is one, and the snapshot it stood on if it was the last one."""
    container = context.engine.inspect(name)
    if container is None:
        return
    context.engine.remove(name)
    image = context.engine.image(container.image_id)
    if image is not None and SNAPSHOT_LABEL in image.labels and not image.tags:
        context.engine.remove_image(image.id)


def labels_of(context: NodeContext, workspace: Workspace) -> dict[str, str]:
    """The labels from which a lost database can be rebuilt. No secrets: everybody who may call Docker reads labels."""
    labels = {
        "atelier.instance": context.site.instance,
        "atelier.workspace": workspace.id,
        "atelier.memory": workspace.limits.memory,
        "atelier.cpus": workspace.limits.cpus,
        **{f"atelier.{field}": getattr(workspace, field) for field in LABELED},
    }
    return {name: str(value) for name, value in labels.items() if value}


def put_ide_config(context: NodeContext, workspace: Workspace) -> None:
    """Writes code-server's configuration from the row's password hash. A running IDE reads it when it starts.

    The value of its session cookie is the hash. The row's ``sessions`` are part of the cookie's name, so changing them
    invalidates old cookies, even if the password stays.
    """
    config = "auth: none\ncert: false\n"
    if workspace.password_hash is not None:
        suffix = f"cookie-suffix: {workspace.sessions}\n" if workspace.sessions else ""
        config = f'auth: password\nhashed-password: "{workspace.password_hash}"\n{suffix}cert: false\n'
    put_config(context, workspace, {"config.yaml": config.encode()})


def put_config(context: NodeContext, workspace: Workspace, files: Mapping[str, bytes]) -> None:
    """Writes these files beside the IDE's configuration, where the seat's user may read but not change them."""
    owned = [File(PurePosixPath(CONFIG_FOLDER, name), data, 0, _CONFIG_GID, 0o640) for name, data in files.items()]
    if owned:
        context.engine.put(context.site.container_name(workspace.id), CONFIG_FOLDER, owned)


def restart_seat(context: NodeContext, workspace: Workspace) -> None:
    """Ends everything that runs in the seat, and starts its IDE with the row's password and sessions.

    The container is restarted from outside: a program in the seat is run by the seat's user, who may have replaced it.
    Raises IDE_NOT_READY, CONTAINER_CREATE_FAILED.
    """
    name = context.site.container_name(workspace.id)
    put_ide_config(context, workspace)
    before = context.engine.inspect(name)
    context.engine.restart(name)
    after = context.engine.inspect(name)
    # Docker's own record, which the seat cannot change.
    if before is None or after is None or after.started_at == before.started_at:
        why = Message("not_restarted", name=workspace.name)
        raise AtelierError(Code.CONTAINER_CREATE_FAILED, why, workspace=workspace.id, container=name)
    await_ide(context, workspace)


def apply_ide_config(context: NodeContext, workspace: Workspace, container: Container) -> None:
    """Gives the IDE the row's password and sessions. In a container that is not stopped this ends everything that runs.
    Raises as ``restart_seat``."""
    if container.status in STOPPED:
        put_ide_config(context, workspace)
    else:
        restart_seat(context, workspace)


def await_ide(context: NodeContext, workspace: Workspace) -> None:
    """Returns when the IDE answers HTTP. Otherwise marks the row ``error`` and raises IDE_NOT_READY with its log."""
    name = context.site.container_name(workspace.id)

    def still_up() -> bool:
        container = container_of(context, workspace)
        return container is not None and container.status == "running"

    if answers_in_time(workspace.address, context.ready_timeout, still_up, context.route):
        return
    log = last_of(context.engine.logs(name, _LOG_LINES), _LOG_LENGTH)
    why = Message("ide_silent", name=workspace.name, seconds=context.ready_timeout)
    context.store.update(workspace.id, status=Status.ERROR, error=why)
    with_log = Message("ide_silent_log", why=why, log=log)
    raise AtelierError(Code.IDE_NOT_READY, with_log, workspace=workspace.id, container=name)


def answers_in_time(address: str, timeout: float, still_up: Callable[[], bool], route: SeatRoute = DIRECT) -> bool:
    """Polls ``/healthz`` every 50 ms until it answers 200. False after ``timeout`` seconds, or once it is not up."""
    begin = time.monotonic()
    next_check = begin + _ALIVE_CHECK_SECONDS
    while True:
        if is_healthy(address, route):
            return True
        moment = time.monotonic()
        if moment - begin > timeout:
            return False
        if moment > next_check:
            if not still_up():
                return False
            next_check = moment + _ALIVE_CHECK_SECONDS
        time.sleep(_POLL_SECONDS)


def is_healthy(address: str, route: SeatRoute = DIRECT) -> bool:
    """Whether the IDE at the address answers now."""
    answer = health(address, route)
    return answer is not None and answer.status == 200


def health(address: str, route: SeatRoute = DIRECT) -> SeatResponse | None:
    """The health response of the IDE, or of another program at its address; None if nothing answers."""
    with suppress(OSError):
        return route.ask(address, IDE_PORT, "/healthz", seconds=_HEALTH_SECONDS, limit=_MOST_HEALTH)
    return None


def is_made_again(workspace: Workspace) -> bool:
    """Whether it is being created in place of a container that is gone. If that is interrupted, the workspace must not
    be deleted: its claim, its checkpoints and what else it has would go, too."""
    return workspace.status is Status.CREATING and workspace.error is not None


def check_created(workspace: Workspace, field: str = "id") -> None:
    """Raises WORKSPACE_BUSY while the workspace is being created."""
    if workspace.status is Status.CREATING:
        raise AtelierError(Code.WORKSPACE_BUSY, Message("still_being_made", name=workspace.name), field=field)


def why_away(workspace: Workspace) -> str:
    """The error of a workspace whose machine does not answer."""
    return workspace.error if workspace.error and is_removed(workspace) else Message("node_silent", node=workspace.node)


def container_of(context: NodeContext, workspace: Workspace) -> Container | None:
    """The workspace's container as its machine has it now."""
    return context.engine.inspect(context.site.container_name(workspace.id))


def observed_status(workspace: Workspace, container: Container | None) -> tuple[Status, str | None]:
    """The row's status and error, corrected by its container's state: for containers Docker is the authority."""
    if workspace.status is Status.CREATING:
        return Status.CREATING, None
    if container is None:
        why = workspace.error if workspace.status is Status.ERROR else None
        return Status.ERROR, why or Message("container_gone")
    if container.status == "restarting":
        return Status.ERROR, Message("container_ends")
    if container.status not in ("running", "paused"):
        return (Status.STOPPED, None) if workspace.status is not Status.ERROR else (Status.ERROR, workspace.error)
    # A container that was observed between its end and Docker's restart runs again.
    stays = workspace.status is Status.ERROR and id_of(workspace.error) != "container_ends"
    return (Status.ERROR, workspace.error) if stays else (Status.RUNNING, None)
