"""Containers that resets and upgrades replaced: kept for some hours, or given their name back.

The old container is stopped and gets the name ``<container>-kept-<time>``, since Docker cannot change the labels of an
existing container. The new one is created as ``<container>-new`` before that: a killed run leaves one of both, and
another run completes it.

The times in the names are the wall clock's. After a jump forward that would make all of them old at once. So the age is
counted in the time that the machine has been up, and what passed in earlier boots is added up in a file. It is a lower
bound: time without any run of Atelier between two boots is not counted.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError
from ..common.models import Status, Workspace
from ..common.validation import is_id
from ..containers.container import container_of, remove_container, start_seat
from ..containers.context import Context, NodeContext
from ..containers.snapshots import recover
from ..engine.models import Container
from .checkpoints import stamp_after

NEW_SUFFIX = "-new"
_KEPT = re.compile(r"(?P<name>.+)-kept-[0-9]{8}t[0-9]{12}z")
_FILE = "kept.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def set_aside(context: NodeContext, name: str) -> str:
    """Renames a container as one that is kept for a while; returns its new name."""
    earlier = (former.rpartition("-")[2] for former in kept_among(name, _names(context)))
    kept = f"{name}-kept-{stamp_after(earlier)}"
    context.engine.rename(name, kept)
    return kept


def go_back(context: NodeContext, row: Workspace, kept: str, *, start: bool) -> None:
    """Gives the kept container its name again, removes the one that has it, and starts it if wanted. If this is killed,
    the names are those that a killed reset leaves."""
    name = context.site.container_name(row.id)
    # Docker renames none that it is just restarting, as one does that does not come up.
    context.engine.stop(name)
    context.engine.rename(name, name + NEW_SUFFIX)
    context.engine.rename(kept, name)
    context.engine.remove(name + NEW_SUFFIX)
    context.store.update(row.id, status=Status.STOPPED, error=None, git_pending=row.git_pending)
    if start:
        start_seat(context, row)


def interrupted_resets(context: NodeContext) -> dict[str, str]:
    """The old containers of resets and upgrades that were killed between their two renames, by workspace id."""
    names = _names(context)
    replaced = {match["name"] for name in names if (match := _KEPT.fullmatch(name))}
    return {names[former]: former for name in sorted(replaced) if (former := _previous(name, names))}


def previous_container(context: NodeContext, workspace_id: str) -> Container | None:
    """The old container of a seat whose reset or upgrade was killed between its two renames."""
    former = _previous(context.site.container_name(workspace_id), _names(context))
    return context.engine.inspect(former) if former else None


def _previous(name: str, names: Collection[str]) -> str | None:
    """After such a death the new container still has its first name. If there is none, somebody removed the seat's own
    by hand; the kept one does not replace that, since it may have a former participant's files."""
    kept = kept_among(name, names)
    return kept[-1] if kept and name not in names and name + NEW_SUFFIX in names else None


def is_of_interrupted_reset(context: NodeContext, name: str) -> bool:
    """Whether it is a container of a seat whose reset or upgrade was killed between its two renames."""
    kept = _KEPT.fullmatch(name)
    return _previous(kept["name"] if kept else name.removesuffix(NEW_SUFFIX), _names(context)) is not None


def restore_previous_container(context: NodeContext, row: Workspace) -> None:
    """Gives ``previous_container`` its name again. The caller holds the seat's lock."""
    if former := previous_container(context, row.id):
        context.engine.rename(former.name, context.site.container_name(row.id))
        context.store.update(row.id, status=Status.STOPPED, error=None)


def recovered(context: NodeContext, row: Workspace) -> tuple[Workspace, Container | None]:
    """The row and its container, after what killed runs left is undone: a snapshot, and a reset or an upgrade between
    its two renames. The caller holds the seat's lock."""
    recover(context, row)
    container = container_of(context, row)
    # One that is being made gets another container. Docker lists all containers for the previous one.
    if container is None and row.status is not Status.CREATING:
        restore_previous_container(context, row)
        container = container_of(context, row)
    return context.store.get(id=row.id), container


def kept_among(workspace_container: str, names: Iterable[str]) -> list[str]:
    """The names of kept containers of that one, oldest first."""
    return [name for name in sorted(names) if (match := _KEPT.fullmatch(name)) and match["name"] == workspace_container]


def last_kept(context: NodeContext, workspace_id: str) -> Container | None:
    """The workspace's newest container that was replaced."""
    kept = kept_among(context.site.container_name(workspace_id), _names(context))
    return context.engine.inspect(kept[-1]) if kept else None


def remove_replaced(context: NodeContext, workspace_id: str) -> None:
    """Removes the containers of a deleted workspace that were replaced, and what an interrupted run left."""
    name = context.site.container_name(workspace_id)
    for former in (name + NEW_SUFFIX, *kept_among(name, _names(context))):
        remove_container(context, former)


def stale_containers(context: NodeContext, keep_hours: float) -> dict[str, tuple[str, bool]]:
    """Unused new containers of resets, and kept ones. Maps container name to (workspace id, expired). Expired
    containers may be removed even if the workspace still exists."""
    names = {name: id for name, id in sorted(_names(context).items()) if is_id(id)}
    over = kept_longer(context.site.state_dir, names, keep_hours) | {
        name for name in names if name.endswith(NEW_SUFFIX)
    }
    return {name: (id, name in over) for name, id in names.items() if name in over or _KEPT.fullmatch(name)}


def remove_expired(context: Context, keep_hours: float) -> None:
    """Removes containers that were kept for longer than that, on all machines that answer. They are other seats', too:
    what cannot be removed now is no reason for a finished reset to fail, and is left to the next one."""
    with suppress(AtelierError):
        found = [(here, _names(here)) for here in context.everywhere()]
        kept = [name for _, names in found for name in names]
        past = kept_longer(context.site.state_dir, kept, keep_hours)
        for here, names in found:
            for name in sorted(past.intersection(names)):
                with suppress(AtelierError):
                    # A reset or an upgrade that is under way may go back to it.
                    in_use = is_id(names[name]) and not context.locks.workspace_free(names[name])
                    if not in_use and not is_of_interrupted_reset(here, name):
                        remove_container(here, name)
        note_kept(context.site.state_dir, kept)


def kept_longer(state_dir: Path, names: Iterable[str], keep_hours: float) -> set[str]:
    """The names of containers that were kept for longer than that, for certain."""
    return {name for name, age in _ages(state_dir, names).items() if age >= keep_hours * 3600}


def note_kept(state_dir: Path, names: Iterable[str]) -> None:
    """Records how long the containers among the names have been kept."""
    boot, up = _boot()
    kept = {name: (age, up) for name, age in sorted(_ages(state_dir, names).items())}
    write_atomically(state_dir / _FILE, json.dumps({"boot": boot, "kept": kept}).encode(), mode=0o600)


def _ages(state_dir: Path, names: Iterable[str]) -> dict[str, float]:
    """Seconds that each container has been kept for certain. One that was never noted has just come."""
    (noted_boot, noted), (boot, up) = _noted(state_dir), _boot()
    found = {}
    for name in filter(_KEPT.fullmatch, names):
        counted, since = noted.get(name, (0.0, up))
        # How long an earlier boot lasted after its last note is unknown.
        found[name] = counted + (max(up - since, 0.0) if noted_boot == boot else 0.0)
    return found


def _noted(state_dir: Path) -> tuple[str, dict[str, tuple[float, float]]]:
    """The boot of the last note, and by container the seconds counted until then and the machine's uptime. After a
    missing or damaged file all containers count as new, which keeps them longer."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        record = json.loads((state_dir / _FILE).read_bytes())
        kept = {str(name): (float(counted), float(since)) for name, (counted, since) in record["kept"].items()}
        return str(record["boot"]), kept
    return "", {}


def _boot() -> tuple[str, float]:
    """This boot, and the seconds since it began, sleep included."""
    return _BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)


def _names(context: NodeContext) -> dict[str, str]:
    """The names of all containers of the installation on this machine, with their workspaces' ids."""
    return context.engine.container_names(f"atelier.instance={context.site.instance}")
