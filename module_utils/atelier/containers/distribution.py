"""Images on machines that have not made them: they travel through the installation's registry."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Site
from ..engine.connections import ClientCertificate
from ..engine.image_registry import ImageRegistry
from ..engine.models import Image
from .context import Context, NodeContext

# Seconds that a push waits while the registry collects garbage.
_COLLECT_SECONDS = 600.0
# Seconds that a run waits for another one that moves the same image.
_TRAVEL_SECONDS = 1800.0
# Includes manifests whose name now belongs to a newer image, such as a template's.
_COLLECT = "exec /usr/bin/docker-registry garbage-collect --delete-untagged /settings/config.yml >/dev/null"


def remote_name(site: Site, name: str) -> str:
    """An image's name in the registry."""
    return f"{site.image_registry}/{name}"


def image_at(here: NodeContext, there: NodeContext, name: str) -> str:
    """Returns the name at ``here`` of an image that ``there`` has under ``name`` (a name, not an id).

    The image is transferred unless ``here`` has it. Docker transfers only the layers that the other side lacks. Raises
    SNAPSHOT_FAILED if the image does not exist, and the errors of pushing and pulling.
    """
    if here.node == there.node:
        return name
    image = there.engine.image(name)
    if image is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("docker.image_vanished", tag=name))
    remote = remote_name(here.site, name)
    if not has(here, remote, image):
        with here.locks.image_travel(remote, _TRAVEL_SECONDS, here.node):
            # The run that held the lock may have brought it.
            if not has(here, remote, image):
                publish(there, image, remote)
                pull(here, remote)
    return remote


def has(here: NodeContext, remote: str, image: Image) -> bool:
    """Whether the machine has the image under its name in the registry."""
    present = here.engine.image(remote)
    return present is not None and present.id == image.id


def pull(here: NodeContext, remote: str) -> Image:
    """Pulls an image of the registry to the machine. It has no name for a moment, and must not count as a leftover."""
    with here.locks.image_pull(here.node):
        return here.engine.pull(remote)


def publish(there: NodeContext, image: Image, remote: str) -> None:
    """Pushes a machine's image to the registry."""
    # Another run must not remove the name meanwhile; collecting garbage would remove layers that no manifest names yet.
    with there.locks.image_travel(remote, _TRAVEL_SECONDS), there.locks.image_push(_COLLECT_SECONDS):
        there.engine.tag(image.id, remote)
        try:
            there.engine.push(remote)
        finally:
            # The name was for the push; the machine's images have their own.
            there.engine.remove_image(remote, force=True)


def fetch_image(here: NodeContext, name: str) -> None:
    """Brings an image of the registry to the machine, under the name that it had where it was made."""
    remote = remote_name(here.site, name)
    # Another run must not remove the name of the registry between this one's pull and its look at the image.
    with here.locks.image_travel(remote, _TRAVEL_SECONDS, here.node):
        if here.engine.image(name) is None:
            here.engine.tag(pull(here, remote).id, name)
            here.engine.remove_image(remote, force=True)


def stored(site: Site, kind: str) -> list[str]:
    """The names of the installation's images of that kind, ``checkpoint`` or ``snapshot``, that are in the registry, as
    their machines have them; none on a single machine. Raises ENGINE_ERROR when the registry does not answer."""
    return _registry(site).names(f"{site.instance}/{kind}") if site.nodes else []


def withdraw(context: Context, names: Iterable[str]) -> None:
    """Deletes images from the registry. ``reconcile`` deletes what cannot be deleted now."""
    if not context.site.nodes:
        return
    with suppress(AtelierError):
        for name in names:
            if _registry(context.site).delete(name):
                _garbage_note(context.site).touch()


def has_garbage(site: Site) -> bool:
    """Whether images were deleted from the registry since it last collected garbage."""
    return bool(site.nodes) and _garbage_note(site).exists()


def collect_garbage(context: Context) -> bool:
    """Removes the layers that no image of the registry has. Returns False, without doing so, while an image is being
    pushed. Raises ENGINE_ERROR and SERVICE_UNAVAILABLE."""
    with context.locks.image_collection() as alone:
        if not alone:
            return False
        # Images that are deleted from now on are left to the next collection.
        _garbage_note(context.site).unlink(missing_ok=True)
        try:
            code, said = context.on().engine.execute(
                f"{context.site.instance}-registry", ["/bin/sh", "-c", _COLLECT], seconds=_COLLECT_SECONDS
            )
            if code != 0:
                raise AtelierError(Code.ENGINE_ERROR, Message("images.not_collected", said=said[-400:]))
        except AtelierError:
            # The registry gives up if an image is deleted meanwhile.
            _garbage_note(context.site).touch()
            raise
        return True


def _garbage_note(site: Site) -> Path:
    return site.state_dir / "registry-garbage"


def _registry(site: Site) -> ImageRegistry:
    return ImageRegistry(site.image_registry, ClientCertificate.of(site.pki, "registry-client"))
