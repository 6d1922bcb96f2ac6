"""The API's settings: one file, written by roles/api from the same variables that playbooks use."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atelier.ansible_module import parse_site
from atelier.common.models import Site, address
from atelier.common.validation import check_group
from atelier.database.claims import Bounds
from atelier.workshop.release import KEEP_FILES, RESET_FILES

# The one thing that the environment says: where the file is. It must hold no secret, since ansible-runner writes its
# whole environment into each run's artifacts.
ENVIRONMENT_NAME = "ATELIER_SETTINGS"


@dataclass(frozen=True)
class Workshop:
    """The workshop day. An empty password means that there is none; so does an empty code."""

    group: str
    generate_passwords: bool
    reset_on_release: bool
    claims_per_minute: int
    seats_per: Bounds
    end: datetime | None
    admin_password: str = field(repr=False)
    access_code: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """What an installation told its API. Times are in seconds."""

    site: Site
    raw_site: dict[str, Any]  # as modules take it
    token: str
    open_to_all: bool
    loopback_is_operator: bool
    ports_want_password: bool
    templates: tuple[str, ...]
    ready_timeout: float
    proxy_enabled: bool
    domain_categories: dict[str, Any]
    show_disk_usage: bool
    workspace_timeout_minutes: float  # 0: idle workspaces are left alone
    reset_keep_hours: float
    disk_reserve: int  # bytes
    workshop: Workshop
    allowed_hosts: tuple[str, ...]
    playbooks: Path
    inventory: Path
    version: str

    @property
    def base_url(self) -> str:
        return address(self.site.protocol, self.site.domain, self.site.port)

    @property
    def git_server_enabled(self) -> bool:
        return self.site.git is not None


def load_settings(path: Path | None = None) -> Settings:
    """Reads the file that ATELIER_SETTINGS names. Raises FileNotFoundError, KeyError or ValueError for a bad one: an
    API with half its settings must not start."""
    source = path or Path(os.environ[ENVIRONMENT_NAME])
    raw = json.loads(source.read_text())
    home = Path(__file__).parent.parent
    token = Path(raw["token_file"]).read_text().strip()
    if len(token) < 32:
        raise ValueError(f"the token in {raw['token_file']} is shorter than 32 characters")
    site = parse_site(raw["site"])
    return Settings(
        site=site,
        raw_site=raw["site"],
        token=token,
        open_to_all=raw["api_auth"] == "open",
        loopback_is_operator=bool(raw["loopback_is_operator"]),
        ports_want_password=raw["port_access"] != "open",
        templates=tuple(raw["templates"]),
        ready_timeout=float(raw["ready_timeout"]),
        proxy_enabled=bool(raw["proxy_enabled"]),
        domain_categories=dict(raw["domain_categories"]),
        show_disk_usage=bool(raw["show_disk_usage"]),
        workspace_timeout_minutes=float(raw["workspace_timeout_minutes"]),
        reset_keep_hours=float(raw["reset_keep_hours"]),
        disk_reserve=int(raw.get("disk_reserve", 0)),
        workshop=_workshop(raw["workshop"]),
        allowed_hosts=(site.domain.lower(), "localhost", "127.0.0.1", "[::1]"),
        playbooks=home / "playbooks",
        inventory=home / "api" / "runner" / "inventory.yml",
        version=raw["version"],
    )


def _workshop(raw: dict[str, Any]) -> Workshop:
    # Apart from the settings, so that whoever looks at those, or at their difference, sees none of them.
    secrets = json.loads(Path(raw["secrets_file"]).read_text())
    if raw["seat_passwords"] not in ("keep", "generate"):
        raise ValueError(f"atelier_workshop_seat_passwords is {raw['seat_passwords']!r}: use keep or generate")
    generate = raw["seat_passwords"] == "generate"
    on_release = raw.get("release") or (RESET_FILES if generate else KEEP_FILES)
    if on_release not in (KEEP_FILES, RESET_FILES):
        raise ValueError(f"atelier_workshop_release is {on_release!r}: use keep, reset, or nothing")
    return Workshop(
        group=check_group(raw["group"]),
        generate_passwords=generate,
        reset_on_release=on_release == RESET_FILES,
        claims_per_minute=int(raw["claims_per_minute"]),
        seats_per=Bounds(int(raw.get("seats_per_browser", 0)), int(raw.get("seats_per_address", 0))),
        end=_moment(raw["end"]),
        admin_password=str(secrets["admin_password"]),
        access_code=str(secrets["access_code"]),
    )


def _moment(text: str) -> datetime | None:
    """A time of ISO 8601; one without a zone is this machine's."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"atelier_workshop_end is {text!r}: use a time such as 2027-03-01T17:00:00+01:00") from error
