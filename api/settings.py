"""The API's settings. roles/api writes the variable ``atelier_<name>`` of each declared setting to one file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from atelier.ansible_module import checked, parse_site
from atelier.backup.restic import keep_options
from atelier.common.declared import SIZE, build, options
from atelier.common.errors import AtelierError
from atelier.common.models import Site, address
from atelier.common.validation import check_group
from atelier.database.claims import Bounds
from atelier.workshop.release import KEEP_FILES, RESET_FILES

# The only environment variable: the path of the settings file. It must hold no secret, because ansible-runner writes
# its whole environment into each run's artifacts.
ENVIRONMENT_NAME = "ATELIER_SETTINGS"
_HOME = Path(__file__).parent.parent
# The role keeps these in the file ``api_secrets``, so that the settings and their difference can be shown.
SECRET = {"no_log": True}


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The workshop day."""

    group: Annotated[str, "The group whose workspaces participants claim."]
    seat_passwords: Annotated[
        Literal["keep", "generate"], "Whether a claim sets a fresh password on its seat (C(generate)) or not (C(keep))."
    ]
    release: Annotated[
        Literal["", "keep", "reset"],
        "Whether the release of a seat resets its files (C(reset)) or not (C(keep)). Empty: C(reset) where seat"
        " passwords are generated, else C(keep).",
    ]
    claims_per_minute: Annotated[int, "Tries from one address elsewhere within a minute; 0 for no limit."]
    seats_per_browser: Annotated[int, "Seats that claims from one browser may hold at the same time; 0 for no limit."]
    seats_per_address: Annotated[
        int, "Seats that claims from one address elsewhere may hold at the same time; 0 for no limit."
    ]
    end: Annotated[datetime | None, {"type": "str"}, "When the workshop is over, as ISO 8601; empty for never."]
    admin_password: Annotated[str, SECRET, "Opens the list of claims; empty for nobody."] = field(repr=False)
    access_code: Annotated[str, SECRET, "What participants must know to claim a seat; empty for nothing."] = field(
        repr=False
    )

    @property
    def generate_passwords(self) -> bool:
        return self.seat_passwords == "generate"

    @property
    def reset_on_release(self) -> bool:
        return (self.release or (RESET_FILES if self.generate_passwords else KEEP_FILES)) == RESET_FILES

    @property
    def seats_per(self) -> Bounds:
        return Bounds(self.seats_per_browser, self.seats_per_address)


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Backups by the clock."""

    repository: Annotated[
        str,
        "The restic repository, such as C(/srv/backup), C(sftp:backup@host:/srv/atelier) or"
        " C(s3:https://s3.example.org/bucket). Empty for none.",
    ]
    password_file: Annotated[Path, "File with the repository's password, which only root may read."]
    environment_file: Annotated[
        str, "File with the storage's credentials as C(NAME=value) lines, which only root may read. Empty for none."
    ]
    times: Annotated[
        tuple[str, ...], "When backups are made each day, in this machine's time, such as C(02:30). Empty for never."
    ]
    keep: Annotated[
        Mapping[str, Any],
        "The backups to keep, by C(last), C(hourly), C(daily), C(weekly), C(monthly), C(yearly). Empty for all.",
    ]

    @property
    def clock_times(self) -> tuple[time, ...]:
        return tuple(_clock_time(text) for text in self.times)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The API's settings."""

    site: Annotated[Site, "The installation, as the modules take it."]
    api_auth: Annotated[
        Literal["token", "open"],
        "C(token) asks callers from elsewhere than this machine for the token; C(open) admits everybody who reaches the"
        " gateway, with a warning in the API's log.",
    ]
    loopback_is_operator: Annotated[bool, "Whether callers from this machine need no token."]
    port_access: Annotated[
        Literal["password", "open"], "Whether people need the workspace's password for the address of a port."
    ]
    ready_timeout: Annotated[float, "Seconds that a new IDE may take until it answers."]
    enable_proxy: Annotated[bool, "Whether the egress proxies are installed."]
    domain_categories: Annotated[
        Mapping[str, Any], "Categories of recorded domains beyond Atelier's, each with its C(labels) and C(hosts)."
    ]
    show_disk_usage: Annotated[bool, "Whether the API tells the disk usage of workspaces."]
    checkpoint_minutes: Annotated[
        float,
        "With several machines, minutes between two checkpoints of a workspace in use, from which it can begin when its"
        " machine is lost; 0 for none.",
    ]
    workspace_timeout: Annotated[float, "Minutes after which an idle workspace is stopped; 0 for never."]
    wake_on_visit: Annotated[
        tuple[Literal["idle", "end", "person"], ...],
        "Which stopped workspaces start when somebody opens their address, by the reason that they were stopped for:"
        " C(idle), C(end) (of the workshop), C(person). None: an empty list.",
    ]
    wakes_per_minute: Annotated[
        int,
        "Starts by visits from one address elsewhere within a minute; 0 for no limit. A workspace has its own limit.",
    ]
    reset_keep_hours: Annotated[float, "Hours that the container which a reset replaced is kept."]
    disk_reserve: Annotated[
        int, SIZE, "Free bytes on Docker's disk below which seats that fill it are stopped, such as C(5g); 0 for none."
    ]
    workshop: Workshop = field(metadata={"prefix": "workshop_"})
    backup: Backup = field(metadata={"prefix": "backup_"})
    # Determined by the role.
    api_templates: Annotated[tuple[str, ...], "The templates that a workspace can be made from."]
    api_token: Annotated[Path, "File with the token."]
    api_secrets: Annotated[Path, "File with the settings that are secret."]
    api_version: Annotated[str, "Version of Atelier."]
    # Derived.
    raw_site: Mapping[str, Any]  # as modules take it
    token: str = field(repr=False)
    playbooks: Path = _HOME / "playbooks"
    inventory: Path = _HOME / "api" / "runner" / "inventory.yml"

    @property
    def open_to_all(self) -> bool:
        return self.api_auth == "open"

    @property
    def ports_want_password(self) -> bool:
        return self.port_access != "open"

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        return (self.site.domain.lower(), "localhost", "127.0.0.1", "[::1]")

    @property
    def base_url(self) -> str:
        return address(self.site.protocol, self.site.domain, self.site.port)

    @property
    def git_server_enabled(self) -> bool:
        return self.site.git is not None


def declared() -> dict[str, Any]:
    """The argument specification of the variables that the settings are made of."""
    return {f"atelier_{name}": option for name, option in options(Settings).items()}


def load_settings(path: Path | None = None) -> Settings:
    """Reads the file that ATELIER_SETTINGS names. Raises OSError, AtelierError or ValueError for a bad one: an API with
    half its settings must not start."""
    raw = json.loads((path or Path(os.environ[ENVIRONMENT_NAME])).read_text())
    if "atelier_api_secrets" in raw:
        raw |= json.loads(Path(raw["atelier_api_secrets"]).read_text())
    given = {name.removeprefix("atelier_"): value for name, value in checked(declared(), raw, "settings").items()}
    token = Path(given["api_token"]).read_text().strip()
    if len(token) < 32:
        raise ValueError(f"the token in {given['api_token']} is shorter than 32 characters")
    check_group(given["workshop_group"])
    made = build(
        Settings,
        given | {"workshop_end": _moment(given["workshop_end"])},
        site=parse_site(raw["atelier_site"]),
        raw_site=raw["atelier_site"],
        token=token,
    )
    if made.backup.clock_times and not made.backup.repository:
        raise ValueError("atelier_backup_times is set without atelier_backup_repository: set both, or neither")
    keep_options(made.backup.keep)
    return made


def _clock_time(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError as error:
        raise ValueError(f"atelier_backup_times has {text!r}: use times of the day such as '02:30'") from error


def _moment(text: str) -> datetime | None:
    """A time of ISO 8601; one without a zone is this machine's."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"atelier_workshop_end is {text!r}: use a time such as 2027-03-01T17:00:00+01:00") from error


if __name__ == "__main__":
    # For roles/api: prints the specification of the variables; with a file, checks that an API would start with it.
    if len(sys.argv) == 1:
        print(json.dumps(declared()))
    else:
        try:
            load_settings(Path(sys.argv[1]))
        except (AtelierError, ValueError) as error:
            sys.exit(str(error))
