"""The API's settings: declared once, given by the inventory and the role, refused when anything is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from atelier.common.errors import AtelierError, Code
from atelier.common.models import GIB
from atelier.database.claims import Bounds
from support import refused

from api.settings import declared, load_settings
from tests import settings_table
from tests.declared import inventory_values, write_settings

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 32


def change(file: Path, **values: Any) -> None:
    """Changes variables in a settings file; None takes one away."""
    known = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: value for name, value in known.items() if value is not None}))


def test_every_declared_variable_is_the_inventory_s_or_the_role_s() -> None:
    files = ("inventory/group_vars/all/platform.yml", "roles/api/vars/main.yml")
    given = {name for file in files for name in yaml.safe_load((ROOT / file).read_text())}
    assert sorted({*declared()} - given) == []


def test_the_page_of_settings_is_made_from_the_declarations() -> None:
    remedy = "run PYTHONPATH=module_utils .venv/bin/python -m tests.settings_table"
    assert settings_table.PAGE.read_text() == settings_table.table(), remedy


def test_the_inventory_s_values_become_settings(tmp_path: Path) -> None:
    settings = load_settings(write_settings(tmp_path, TOKEN, workshop_end="2027-03-01T17:00:00+01:00"))
    assert (settings.token, settings.open_to_all, settings.disk_reserve) == (TOKEN, False, 5 * GIB)
    assert (settings.site.seat_disk, settings.site.archive.content_bytes) == (20 * GIB, 20 * GIB)
    assert settings.raw_site == inventory_values()["atelier_site"]
    workshop = settings.workshop
    assert workshop.end is not None and workshop.end.isoformat() == "2027-03-01T16:00:00+00:00"
    assert (workshop.seats_per, workshop.generate_passwords, workshop.reset_on_release) == (Bounds(3, 0), False, False)


@pytest.mark.parametrize(
    ("passwords", "release", "reset"),
    [("keep", "", False), ("generate", "", True), ("keep", "reset", True), ("generate", "keep", False)],
)
def test_a_release_resets_by_default_where_passwords_are_generated(
    tmp_path: Path, passwords: str, release: str, reset: bool
) -> None:
    made = write_settings(tmp_path, TOKEN, workshop_seat_passwords=passwords, workshop_release=release)
    assert load_settings(made).workshop.reset_on_release is reset


def test_no_secret_is_in_the_settings_file(tmp_path: Path) -> None:
    made = write_settings(tmp_path, TOKEN, workshop_admin_password="admin-canary", workshop_access_code="code-canary")
    assert "canary" not in made.read_text() and TOKEN not in made.read_text()
    settings = load_settings(made)
    assert (settings.workshop.admin_password, settings.workshop.access_code) == ("admin-canary", "code-canary")
    assert "canary" not in repr(settings) and TOKEN not in repr(settings)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    made = write_settings(tmp_path, TOKEN)
    site = {**inventory_values()["atelier_site"], "colour": "red"}
    change(
        made, atelier_shiny=True, atelier_api_auth="sometimes", atelier_port_access=None, atelier_ready_timeout="soon"
    )
    change(made, atelier_site=site)
    with pytest.raises(AtelierError) as error:
        load_settings(made)
    told = refused(error, Code.VALIDATION_ERROR, "settings")
    for named in ("atelier_api_auth", "missing required arguments: atelier_port_access", "atelier_ready_timeout"):
        assert named in told
    assert "unknown: atelier_shiny, atelier_site.colour" in told


@pytest.mark.parametrize(
    "without", ["atelier_api_secrets", "atelier_api_token", "atelier_site", "atelier_disk_reserve"]
)
def test_a_missing_setting_is_named(tmp_path: Path, without: str) -> None:
    made = write_settings(tmp_path, TOKEN)
    change(made, **{without: None})
    with pytest.raises(AtelierError, match=without):
        load_settings(made)


def test_a_time_that_is_none_and_a_short_token_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="atelier_workshop_end is 'tomorrow'"):
        load_settings(write_settings(tmp_path, TOKEN, workshop_end="tomorrow"))
    with pytest.raises(ValueError, match="shorter than 32"):
        load_settings(write_settings(tmp_path, "short"))
    with pytest.raises(ValueError, match="atelier_backup_times has '25:00'"):
        load_settings(write_settings(tmp_path, TOKEN, backup_times=["25:00"]))
    with pytest.raises(ValueError, match="without atelier_backup_repository"):
        load_settings(write_settings(tmp_path, TOKEN, backup_times=["02:30"]))
