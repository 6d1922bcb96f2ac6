"""Checks whether the platform changed since the last ``./atelier up``, so that up can skip its roles.

A fingerprint maps the platform's inputs and parts to short texts. If two are equal, of the same boot and close in time,
there is nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError
from ..common.models import Site
from ..engine.client import Engine
from ..git.client import open_forge
from .installation import digest_of

# Certificates expire and packages age, so all roles run again after a day.
MAX_AGE_SECONDS = 86_400
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BRIDGES = Path("/sys/class/net")


@dataclass(frozen=True)
class Fingerprint:
    """``at``: seconds since the epoch. ``parts``: the present state, and the inputs of every play. ``of_api``: further
    inputs of the API's play. ``plays``: digests of the further inputs of each play that can be skipped."""

    at: float
    parts: Mapping[str, str]
    of_api: Mapping[str, str] = field(default_factory=dict)
    plays: Mapping[str, str] = field(default_factory=dict)


def difference(last: Fingerprint | None, now: Fingerprint) -> str | None:
    """Why the roles must run, as a text; None if nothing changed."""
    if last is None:
        return "no complete run is on record"
    if not 0 <= now.at - last.at < MAX_AGE_SECONDS:
        return "the last complete run is more than a day ago"
    then, there = {**last.parts, **last.of_api}, {**now.parts, **now.of_api}
    for part in sorted(then.keys() | there.keys()):
        if part not in there:
            return f"{part} is gone"
        if then.get(part) != there[part]:
            return f"{part} {'changed' if part in then else 'is new'}"
    return None


def plays_unchanged(last: Fingerprint | None, now: Fingerprint) -> list[str]:
    """The plays with unchanged inputs; empty if the state is not the one that the last run left."""
    if last is None or difference(replace(last, of_api=now.of_api), now):
        return []
    return [play for play, digest in now.plays.items() if last.plays.get(play) == digest]


def read_fingerprint(file: Path) -> Fingerprint | None:
    """None for a missing or invalid file; the fingerprint is only an optimisation."""
    try:
        raw = json.loads(file.read_text())
        return Fingerprint(float(raw["at"]), dict(raw["parts"]), dict(raw["of_api"]), dict(raw["plays"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_fingerprint(file: Path, fingerprint: Fingerprint) -> None:
    write_atomically(file, json.dumps(asdict(fingerprint), indent=1, sort_keys=True).encode(), mode=0o600)


def sources(paths: Iterable[Path]) -> dict[str, str]:
    """A digest for each path: of the file, or of all files below the folder. One that is missing is left out."""
    return {str(path): digest for path in paths if (digest := digest_of(path)) is not None}


def digest(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def services(engine: Engine, instance: str) -> dict[str, str]:
    """Maps the platform's running containers to their images. A replaced gateway, which ends with its connections, is
    left out."""
    return {
        f"the container {container.name}": f"{container.id} of {container.image_id}"
        for container in engine.containers(f"atelier.instance={instance}")
        if "atelier.service" in container.labels
        and container.status == "running"
        and not container.name.startswith(f"{instance}-gateway-leaving-")
    }


def git_server(site: Site) -> dict[str, str]:
    """The git server's response for Atelier's account, because a password can be changed without any other trace. Empty
    if it refuses the credentials or does not answer."""
    if site.git is None:
        return {}
    try:
        open_forge(site).check_credentials()
    except AtelierError:
        return {}
    return {"the git server that takes our credentials": "yes"}


def templates(engine: Engine, site: Site, names: Iterable[str]) -> dict[str, str]:
    """The images of these templates. Images of others come and go as people ask for them."""
    images = {tag: engine.image(tag) for tag in map(site.template_image, names)}
    return {f"the image {tag}": image.id for tag, image in images.items() if image is not None}


def host(bridges: Iterable[str]) -> dict[str, str]:
    """The boot's id, and the bridges' indexes: a bridge that was created again has another index."""
    found = {"the boot": _BOOT.read_text().strip()}
    for bridge in bridges:
        index = _BRIDGES / bridge / "ifindex"
        if index.exists():
            found[f"the bridge {bridge}"] = index.read_text().strip()
    return found


def machines(engine: Engine, site: Site, digests: Mapping[str, str]) -> dict[str, str]:
    """The other machines: their digests, and their state in Docker Swarm."""
    if not site.nodes:
        return {}
    swarm = {f"the Swarm's machine {node.id}": f"{node.state} {dict(node.labels)}" for node in engine.swarm_nodes()}
    return {**swarm, **{f"the machine {name}": digest for name, digest in digests.items()}}
