"""Images on machines that have not made them: they travel through the installation's registry."""

from __future__ import annotations

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Site
from ..engine.interface import Image
from .context import NodeContext


def remote_name(site: Site, name: str) -> str:
    """An image's name in the registry."""
    return f"{site.image_registry}/{name}"


def image_at(here: NodeContext, there: NodeContext, name: str) -> str:
    """The name, at ``here``, of an image that ``there`` has under ``name``, which is no id.

    It is brought here, unless it is the same machine or has it. Docker moves only the layers that the other side lacks.
    Raises SNAPSHOT_FAILED when there is no such image, and what pushing and pulling raise.
    """
    if here.node == there.node:
        return name
    image = there.engine.image(name)
    if image is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("docker.image_vanished", tag=name))
    remote = remote_name(here.site, name)
    if not has(here, remote, image):
        publish(there, image, remote)
        here.engine.pull(remote)
    return remote


def has(here: NodeContext, remote: str, image: Image) -> bool:
    """Whether the machine has the image under its name in the registry."""
    present = here.engine.image(remote)
    return present is not None and present.id == image.id


def publish(there: NodeContext, image: Image, remote: str) -> None:
    """Pushes a machine's image to the registry."""
    there.engine.tag(image.id, remote)
    there.engine.push(remote)
    # The name was for the push; the controller's images have their own.
    there.engine.remove_image(remote, force=True)
