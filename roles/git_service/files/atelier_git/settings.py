"""The service's settings, which the role writes to a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds. ``base_url`` is the public address, such as http://localhost/git."""

    owner: str
    # The account that Atelier works as.
    service_user: str
    base_url: str
    socket: str
    data_dir: Path
    # A push may be so large, as it comes over the wire.
    max_push_bytes: int
    # Maximum size of a file, of a repository and of a seat's branch, and maximum number of objects.
    max_file_bytes: int
    max_repository_bytes: int
    max_branch_bytes: int
    max_objects: int
    # The address space of each git.
    max_git_memory_bytes: int
    # Maximum concurrent pushes, clones, and requests of one seat; more wait.
    max_processes: int
    max_per_seat: int
    # Maximum time of a clone or push, and maximum silence of its sender.
    request_seconds: float
    idle_seconds: float
    version: str

    @property
    def repositories(self) -> Path:
        return self.data_dir / "repositories"

    @property
    def incoming(self) -> Path:
        """The folder for incoming request bodies, so that they are not in memory."""
        return self.data_dir / "incoming"

    @property
    def database(self) -> Path:
        return self.data_dir / "git.sqlite3"


def load(path: Path) -> Settings:
    """Loads the settings. Raises OSError, ValueError or TypeError for an invalid file."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Settings)}
    if set(raw) != known:
        raise ValueError(f"{path} must hold exactly {', '.join(sorted(known))}")
    return Settings(**{**raw, "data_dir": Path(raw["data_dir"])})
