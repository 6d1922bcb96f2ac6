"""A snapshot: an image of a workspace's filesystem without its secrets, for clones.

Secrets are removed from the source during the commit and restored afterwards. A journal is written to disk first, so a
crash loses nothing: the next run restores them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import MIB, Site, Workspace
from ..common.validation import is_id
from ..engine.client import Engine
from ..engine.models import Container, File, Image, TooLarge
from .container import SNAPSHOT_LABEL
from .context import Context, NodeContext
from .distribution import remote_name, stored, withdraw
from .held_secrets import LARGEST_PLACE, Secret, find_secrets
from .secret_paths import HOME, is_users

# Docker allows 125 layers in an image; a clone adds one, and its own clones another.
MAX_LAYERS = 110
_KIND = "snapshot"
# Marks an image of a backup, which has a seat's secrets in its layers.
SECRETS_LABEL = "atelier.secrets"


@contextmanager
def snapshot(
    context: NodeContext, source: Workspace, run_id: str, *, max_layers: int = MAX_LAYERS, locked: bool = False
) -> Iterator[tuple[NodeContext, Image]]:
    """Takes a snapshot of the source for the length of the block, then removes its tag. Yields it with the machine that
    has it: while this waited for the source, a move may have brought it to another one.

    The layers live on for as long as clones stand on them; the last one's removal takes them along. ``run_id`` is the
    batch whose lock the caller holds: by it others can tell a snapshot in use from one that a crash left.
    ``locked``: the caller holds the source's lock, too. Raises SNAPSHOT_FAILED, DISK_FULL.
    """
    # Use a unique tag per attempt. Docker completes a commit even if its client is killed, and that image may contain
    # restored secrets; a resumed run must not reuse its tag.
    tag = f"{context.site.instance}/{_KIND}:{source.id}-{token_hex(4)}-{run_id}"
    try:
        with nullcontext() if locked else context.locks.workspace(source.id, context.lock_wait):
            here = context.at(source)
            image = _take(here, source, tag, max_layers)
        yield here, image
    finally:
        # A tag that can't be removed now is a leftover that the next run removes: no reason to give up good seats.
        context.at_each(lambda here: _clear(here, run_id))
        with suppress(AtelierError):
            names = _runs(context, stored(context.site, _KIND))
            withdraw(context, [name for name, run in names.items() if run == run_id])


def _clear(here: NodeContext, run_id: str) -> None:
    with suppress(AtelierError):
        # The tags of this attempt of the run and of killed attempts.
        for tag, run in _runs(here, here.engine.image_tags(SNAPSHOT_LABEL)).items():
            if run == run_id:
                here.engine.remove_image(tag, force=True)
        # Those of other runs that were killed, too: their commits may have come to an end only now.
        remove_leftover_snapshots(here, leftover_snapshots(here))


def leftovers_stored(context: Context) -> list[str]:
    """The names of the registry's snapshots whose runs have ended. Raises ENGINE_ERROR when it does not answer."""
    names = _runs(context, stored(context.site, _KIND))
    return [name for name, run in names.items() if context.locks.batch_free(run)]


def leftover_snapshots(context: NodeContext) -> list[Image]:
    """Unused snapshots: tagged by a dead run, or without a tag and without a clone."""
    instance = context.site.instance
    found = [
        image
        for image in context.engine.images(SNAPSHOT_LABEL)
        if image.labels.get("atelier.instance") == instance and is_id(image.labels[SNAPSHOT_LABEL])
    ]
    # Read after the images, so that a clone created meanwhile counts.
    in_use = context.engine.images_in_use(f"atelier.instance={instance}")
    leftovers: list[Image] = []
    for image in found:
        runs = _runs(context, image.tags).values()
        if (runs and all(context.locks.batch_free(run) for run in runs)) or (
            not image.tags and image.id not in in_use and not _is_being_made(context, image)
        ):
            leftovers.append(image)
    return leftovers


def _is_being_made(context: NodeContext, image: Image) -> bool:
    """Docker's commit has no tag for a moment, and loses it to the final snapshot just before it is removed. The
    creating run holds the source's lock; if it is free, both moments are over. A pulled image has no tag for a moment,
    too."""
    source_is_free = context.locks.workspace_free(image.labels[SNAPSHOT_LABEL])
    if not source_is_free or not context.locks.image_pulls_free(context.node):
        return True
    now = context.engine.image(image.id)
    return now is None or bool(now.tags)


def remove_leftover_snapshots(context: NodeContext, leftovers: list[Image]) -> None:
    for image in leftovers:
        if not image.tags:
            context.engine.remove_image(image.id)
        for tag, run in _runs(context, image.tags).items():
            # The run that resumes the interrupted one removes all its tags.
            with context.locks.batch(run) as held:
                if held:
                    context.engine.remove_image(tag, force=True)


def _runs(context: Context, tags: Iterable[str]) -> dict[str, str]:
    """Maps the tags that are this installation's snapshots to their runs."""
    ours = f"{context.site.instance}/{_KIND}:"
    prefixes = (ours, remote_name(context.site, ours))
    return {tag: tag.rpartition("-")[2] for tag in tags if tag.startswith(prefixes)}


def check_source(context: NodeContext, source: Workspace) -> tuple[Container, Image]:
    """The source's container and the image it was made from. Raises SNAPSHOT_FAILED when either is gone."""
    container = context.engine.inspect(context.site.container_name(source.id))
    if container is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("snapshot.no_container", source=source.name), field="source")
    base = context.engine.image(container.image_id)
    if base is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("snapshot.no_image", source=source.name), field="source")
    return container, base


def _take(context: NodeContext, source: Workspace, tag: str, max_layers: int) -> Image:
    # What an interrupted one left undone comes first: it may have left the source paused.
    recover(context, source)
    container, base = check_source(context, source)
    labels = {**base.labels, "atelier.instance": context.site.instance, SNAPSHOT_LABEL: source.id}
    labels.pop(SECRETS_LABEL, None)
    make = context.engine.flatten if must_flatten(base, max_layers) else context.engine.commit
    with paused_for_copy(context, source, container):
        check_size(context, source, container)
        secrets = find_secrets(context.engine, container.id, source.name)
        if secrets:
            _write_journal(context, source, container, container.status == "running", secrets)
            stand_ins = [replace(secret.original(), data=secret.replacement) for secret in secrets]
            context.engine.put(container.id, "/", stand_ins)
        return make(container.id, tag, {**base.config, "Labels": labels})


def must_flatten(base: Image, max_layers: int = MAX_LAYERS) -> bool:
    """Whether a copy of a container of this image may not have its layers below: there are too many, or they have
    secrets, which the copy must not take along."""
    return len(base.layers) >= max_layers or SECRETS_LABEL in base.labels


def recover(context: NodeContext, source: Workspace, *, ran: bool = True) -> bool:
    """Undoes what a snapshot that was killed left in the source: held-back secrets, the pause. The caller holds the
    source's lock. ``ran``: whether the source may have run since. Returns whether there was anything to undo."""
    journal = _journal(context, source)
    _drop_unfinished(context, source.id)
    try:
        record = json.loads(journal.read_bytes())
    except FileNotFoundError:
        return False
    name = context.site.container_name(source.id)
    container = context.engine.inspect(name)
    if container is not None and container.id == record["container"]:
        paused, runs = record["paused"], container.status == "running"
        secrets = [Secret(**_in_base64(entry, base64.b64decode)) for entry in record["secrets"]]
        if runs and paused:
            context.engine.thaw(name)
        if runs and secrets:
            # Its user must not replace a folder while root writes into it.
            _write_journal(context, source, container, True, secrets)
            context.engine.pause(name)
        try:
            _put_back(context.engine, name, secrets, ran=ran)
        finally:
            # Continue after any error (the journal has the rest), so that the seat does not stay paused.
            if (paused and container.status == "paused") or (runs and secrets):
                context.engine.unpause(name)
    journal.unlink(missing_ok=True)
    return True


def forget_snapshot(context: Context, workspace_id: str) -> None:
    """Deletes the stored secrets of a deleted workspace."""
    _drop_unfinished(context, workspace_id)
    (_journals(context.site) / f"{workspace_id}.json").unlink(missing_ok=True)


def _drop_unfinished(context: Context, workspace_id: str) -> None:
    """Journals whose writer was killed before they had their name: they hold secrets, too."""
    for unfinished in _journals(context.site).glob(f".{workspace_id}.json.*"):
        unfinished.unlink(missing_ok=True)


def interrupted(site: Site) -> list[str]:
    """Ids of workspaces whose snapshot was interrupted (or is being taken right now)."""
    return sorted(path.stem for path in _journals(site).glob("*.json"))


def was_interrupted(context: Context, workspace: Workspace) -> bool:
    """Whether ``recover`` has anything to undo. The caller holds the workspace's lock, so none is being taken."""
    return _journal(context, workspace).exists()


@contextmanager
def paused_for_copy(context: NodeContext, workspace: Workspace, container: Container) -> Iterator[None]:
    """Pauses the container for the block, if it runs. A killed run leaves a journal from which ``recover`` unpauses it.
    The caller holds the workspace's lock."""
    try:
        if container.status == "running":
            _write_journal(context, workspace, container, True, [])
            context.engine.pause(container.id)
        yield
    finally:
        recover(context, workspace, ran=False)


def check_size(context: NodeContext, source: Workspace, container: Container) -> int:
    """The bytes of the container's own files. Raises SNAPSHOT_FAILED for more than one seat may have. Docker writes the
    holes in files to the disk as zeros, so a file that is large only by its name would fill it."""
    written, most = context.engine.written(container.id), context.site.archive.content_bytes
    if written > most:
        large = Message("snapshot.too_large", source=source.name, size=written // MIB, most=most // MIB)
        raise AtelierError(Code.SNAPSHOT_FAILED, large, field="source")
    return written


def _put_back(engine: Engine, container: str, secrets: list[Secret], *, ran: bool) -> None:
    """Restores the secret files. If the container ``ran`` meanwhile (after a crash), a file that was changed is not
    replaced; the older content is written beside it, or to the user's home if its folder is elsewhere by now."""
    files: list[File] = []
    leads_out = cache(partial(_leads_out, engine, container))
    for secret in secrets:
        original = secret.original()
        if ran and any(leads_out(folder) for folder in original.path.parents if is_users(folder)):
            files.append(replace(original, path=_at_home(original.path)))
            continue
        present = _present(engine, container, secret)
        if present == secret.content:
            continue
        if present is None or present == secret.replacement:
            files.append(original)
        else:
            beside = original.path.with_name(f"{original.path.name}.before-snapshot")
            files.append(replace(original, path=beside))
    if files:
        _put(engine, container, files)


def _put(engine: Engine, container: str, files: list[File]) -> None:
    """Writes the files. If Docker cannot, because the seat's user replaced a file's folder, the file goes to the user's
    home, so that one file does not block the seat."""
    try:
        engine.put(container, "/", files)
    except AtelierError as error:
        # Docker may still write the files after its answer was given up: details with a limit are no refusal.
        if error.code is not Code.ENGINE_ERROR or "limit" in error.details:
            raise
        if len(files) > 1:
            for file in files:
                _put(engine, container, [file])
            return
        elsewhere = _at_home(files[0].path)
        if files[0].path == elsewhere:
            raise
        _put(engine, container, [replace(files[0], path=elsewhere)])


def _at_home(path: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(HOME, f"{path.name}.before-snapshot")


def _leads_out(engine: Engine, container: str, folder: PurePosixPath) -> bool:
    """Whether the folder is a link to one that is not the user's: root would write there, if the user made the link
    after a crash. Docker follows links, inside the container."""
    targets: list[PurePosixPath] = []

    def note(target: PurePosixPath) -> bool:
        targets.append(target)
        return False

    with suppress(TooLarge):
        engine.read(container, str(folder), 0, note)
    return not all(is_users(target) for target in targets)


def _present(engine: Engine, container: str, secret: Secret) -> bytes | None:
    """The present file at the secret's path; None for nothing, a link or a folder."""
    try:
        archive = engine.read(container, secret.path, LARGEST_PLACE, lambda _: False)
    except TooLarge:
        return b"more than was ever held back"
    return archive.first_file() if archive else None


def _journals(site: Site) -> Path:
    return site.state_dir / "snapshots"


def _journal(context: Context, source: Workspace) -> Path:
    return _journals(context.site) / f"{source.id}.json"


def _write_journal(
    context: NodeContext, source: Workspace, container: Container, paused: bool, secrets: list[Secret]
) -> None:
    record = {
        "container": container.id,
        "paused": paused,
        "secrets": [_in_base64(asdict(secret), lambda data: base64.b64encode(data).decode()) for secret in secrets],
    }
    try:
        _journals(context.site).mkdir(mode=0o700, exist_ok=True)
        write_atomically(_journal(context, source), json.dumps(record).encode(), mode=0o600)
    except OSError as error:
        not_safe = Message("snapshot.not_safe", source=source.name, why=error)
        raise AtelierError(Code.SNAPSHOT_FAILED, not_safe, field="site.state_dir") from error


def _in_base64(secret: Mapping[str, Any], convert: Callable[[Any], str | bytes]) -> dict[str, Any]:
    """A secret's fields, with the contents converted for the journal or from it."""
    return {**secret, **{name: convert(secret[name]) for name in ("content", "replacement")}}
