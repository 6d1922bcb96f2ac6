"""The parts of a backup: a snapshot of the state folder, which has this manifest, and one for each archive of images. A
backup is complete when the state folder's snapshot, which is made last, exists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common.errors import AtelierError, invalid
from ..common.models import CONTROLLER, Site

FORMAT = 2  # 1: of a single machine
# Tags of restic's snapshots. Those of one backup have its run in common.
STATE, IMAGES = "atelier-state", "atelier-images"
# The names of an archive of images and of one of recordings, each in its snapshot. Both snapshots have the tag IMAGES.
ARCHIVE, RECORDINGS = "images.tar", "recordings.tar"


def run_tag(run_id: str) -> str:
    return f"run-{run_id}"


def run_of(snapshot: Mapping[str, Any]) -> str:
    """The run tag of one of restic's snapshots; empty if it has none."""
    return next((tag for tag in snapshot.get("tags") or () if tag.startswith("run-")), "")


def missing_tag(name: str) -> str:
    """The tag of a backup that lacks the workspace of that id, or a part of the machine of that name."""
    return f"without-{name}"


def last_copies(backups: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the backups that have the last copy of what the newest one lacks. ``backups`` are restic's snapshots
    of state folders, oldest first. For an item that was never saved, the newest backup not marked as lacking it."""
    tags = [(str(backup["id"]), set(backup.get("tags") or ())) for backup in reversed(backups)]
    lacking = {tag for _, newest in tags[:1] for tag in newest if tag.startswith(missing_tag(""))}
    found = (next((id for id, its in tags if tag not in its), None) for tag in lacking)
    return {id for id in found if id is not None}


@dataclass(frozen=True)
class SavedImages:
    """Images of some workspaces of a machine as ``docker save`` writes them; ``tags`` are their names."""

    snapshot: str
    tags: Sequence[str]
    node: str = CONTROLLER


@dataclass(frozen=True)
class Manifest:
    """``images`` maps workspace ids to the image of each; ``missing`` to why there is none. ``databases`` and
    ``repositories`` are paths in the state folder whose copies, of one moment, are beside the manifest. ``recordings``
    maps machines besides the controller, whose recordings are in the state folder, to their snapshots."""

    taken_at: str
    instance: str
    image_prefix: str
    archives: Sequence[SavedImages]
    images: Mapping[str, str]
    missing: Mapping[str, str]
    databases: Sequence[str]
    repositories: Sequence[str]
    recordings: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1))

    def check(self, site: Site) -> None:
        """Raises VALIDATION_ERROR if the settings that names depend on differ from the backup's, or if the inventory
        lacks one of its machines."""
        for name, there, here in (
            ("atelier_instance", self.instance, site.instance),
            ("atelier_image_prefix", self.image_prefix, site.image_prefix),
        ):
            if there != here:
                raise other_setting(name, here, there)
        machines = {archive.node for archive in self.archives} | set(self.recordings)
        check_machines(site, machines)


def read_manifest(file: Path) -> Manifest:
    """Reads a manifest. Raises VALIDATION_ERROR for a newer format."""
    raw = json.loads(file.read_text())
    if raw["format"] > FORMAT:
        raise newer(f"format {raw['format']}")
    return Manifest(**{**raw, "archives": [SavedImages(**archive) for archive in raw["archives"]]})


def other_setting(name: str, here: object, there: object) -> AtelierError:
    return invalid("backup.other_setting", name, name=name, here=here, there=there)


def check_machines(site: Site, names: set[str]) -> None:
    """Raises VALIDATION_ERROR if the inventory lacks one of these machines."""
    if unknown := names - set(site.node_names):
        raise invalid("backup.machines_unknown", "site.nodes", nodes=", ".join(sorted(unknown)))


def newer(version: str) -> AtelierError:
    return invalid("backup.newer", "snapshot", version=version)
