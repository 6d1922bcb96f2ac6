"""A whole installation in use, and a repository for its backups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installed import Installation, installed

from .storages import S3_ACCESS
from .workshop import CANARY, INSTANCE, PORT, Backups


@pytest.fixture(scope="session")
def backups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backups]:
    folder = tmp_path_factory.mktemp("backups")
    # The gateway's and the services' users must be able to pass to their folders.
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o711)
    key, variables = (
        _private(folder / "key", CANARY),
        _private(folder / "environment", f"AWS_ACCESS_KEY_ID={S3_ACCESS}\nAWS_SECRET_ACCESS_KEY={CANARY}\n"),
    )
    with installed(
        folder,
        INSTANCE,
        atelier_base_port=PORT,
        atelier_tls_self_made=True,
        atelier_network_open_bridge="atl-bak",
        atelier_network_open_subnet="172.20.192.0/20",
        atelier_network_logging_bridge="atl-bak-log",
        atelier_network_logging_subnet="172.20.208.0/21",
        atelier_network_security_bridge="atl-bak-sec",
        atelier_network_security_subnet="172.20.216.0/21",
        atelier_templates=["empty"],
        atelier_workshop_seat_passwords="generate",
        atelier_backup_password_file=str(key),
        atelier_backup_environment_file=str(variables),
        workshop_seats=3,
        workshop_git_repo=True,
    ) as made:
        yield Backups(made, folder)


def _private(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@pytest.fixture(scope="session")
def installation(backups: Backups) -> Installation:
    return backups.installation
