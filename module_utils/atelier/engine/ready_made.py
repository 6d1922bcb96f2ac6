"""Images that a registry of the site has, so that nothing is built."""

from __future__ import annotations

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from .client import Engine
from .docker_errors import is_engine_away
from .models import Image


def pull_ready_made(engine: Engine, registry: str, name: str) -> Image:
    """Pulls ``<registry>/<name>`` and names it ``name``. Only layers that are not there travel.

    Raises SERVICE_UNAVAILABLE when Docker is away, ENGINE_ERROR when the registry does not have or give it.
    """
    remote = f"{registry.rstrip('/')}/{name}"
    try:
        image = engine.pull(remote)
    except AtelierError as error:
        if is_engine_away(error):
            raise
        why = Message("image_not_ready_made", image=remote, why=error.sentence)
        raise AtelierError(Code.ENGINE_ERROR, why, field="atelier_images_from", value=registry) from error
    engine.tag(image.id, name)
    # The registry's name would keep an image that a newer one has replaced.
    engine.remove_image(remote, force=True)
    return image
