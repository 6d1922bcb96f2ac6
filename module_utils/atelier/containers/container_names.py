"""Names of the seats' containers, which do not reveal workspace ids, and the renaming of older containers.

Docker's name server tells every seat the names of its neighbours' containers. The secrecy of an id protects a seat's
address, so a name is derived from the id and a key of the installation: with both it can be computed, but not reversed.
Docker can rename running containers, and its name server follows at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from ..common.atomic_files import usable, write_atomically
from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..common.models import Site
from ..common.validation import is_id
from ..engine.client import Engine
from ..engine.models import Container

_NAME = r"-(?:seat-)?[0-9a-f]{12}(?P<suffix>-new|-kept-[0-9]{8}t[0-9]{12}z)?"


def read_names_key(state_dir: Path) -> bytes | None:
    """Reads the key for names; None if it does not exist yet."""
    try:
        return bytes.fromhex(_key_file(state_dir).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        unreadable = Message("names_key_unreadable", file=_key_file(state_dir), why=error)
        raise AtelierError(Code.REGISTRY_ERROR, unreadable) from error


def with_names(site: Site, engine: Engine | None, locks: Locks, wait: float) -> Site:
    """Return the site with the key for names.

    The first call creates the key and renames containers with old names while they run. ``engine`` is None if there are
    no containers yet; the state folder must exist. Raises WORKSPACE_BUSY if running operations take longer than
    ``wait`` seconds.
    """
    key = read_names_key(site.state_dir)
    if key is not None:
        return replace(site, names_key=key)
    with locks.names(wait):
        key = read_names_key(site.state_dir)
        if key is not None:
            return replace(site, names_key=key)
        text = token_hex(32)
        named = replace(site, names_key=bytes.fromhex(text))
        with ExitStack() as held:
            if engine is not None:
                label = f"atelier.instance={site.instance}"
                # All before the first is renamed: the key is kept only when all are.
                for id in sorted({id for id in engine.container_names(label).values() if is_id(id)}):
                    held.enter_context(locks.workspace(id, wait))
                for name, wanted in misnamed(named, engine.containers(label)).items():
                    engine.rename(name, wanted)
            with usable(_key_file(site.state_dir), Code.REGISTRY_ERROR):
                write_atomically(_key_file(site.state_dir), text.encode(), mode=0o600)
        return named


def misnamed(site: Site, containers: Collection[Container]) -> dict[str, str]:
    """Containers of seats with an outdated name, or one by another key, with their right names.

    A container created manually from a seat's image also has the seat's labels; only the seat's own has its volume.
    """
    pattern = re.compile(re.escape(site.instance) + _NAME)
    taken = {container.name for container in containers}
    found: dict[str, str] = {}
    for container in containers:
        id, match = container.labels.get("atelier.workspace", ""), pattern.fullmatch(container.name)
        if match is None or not is_id(id) or site.volume_name(id) not in container.volumes:
            continue
        name = site.container_name(id) + (match["suffix"] or "")
        if name not in taken:
            found[container.name] = name
            taken.add(name)
    return found


def _key_file(state_dir: Path) -> Path:
    return state_dir / "names.key"
