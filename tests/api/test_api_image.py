"""The content of the API's image: the program and its playbooks, and no files of a site from its checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.module.installation import REPOSITORY

CANARY = "canary-of-the-checkout"
TEMPLATES = "roles/workspace_image/files/templates"
# As ansible-vault writes them; nobody has the password.
VAULTED = "$ANSIBLE_VAULT;1.1;AES256\n" + "3936316234" * 16 + "\n"
SECRETS = (
    "inventory/group_vars/all/platform.yml",
    "inventory/group_vars/all/site.yml",
    "inventory/host_vars/localhost.yml",
    "inventory/vault.yml",
    ".git/config",
    ".env",
    ".vault-password",
    "workshop-seats.csv",
    "my-workshop.yml",
    "api/.env",
    "api/runner/group_vars/all.yml",
    "module_utils/atelier/seats.csv",
    "playbooks/secrets.yml",
    "roles/api/vars/site.yml",
    "roles/workspace_image/defaults/site.yml",
    "playbooks/group_vars/all.yml",
    "playbooks/vars/site.yml",
    "plugins/vault.yml",
    "tests/secret.py",
)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of a checkout with secrets, as the role's own Dockerfile.dockerignore leaves it."""
    checkout, exported = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("exported")
    skipped = shutil.ignore_patterns(".git", ".venv", "out", "__pycache__", ".mypy_cache", ".ruff_cache")
    shutil.copytree(REPOSITORY, checkout, ignore=skipped, symlinks=True, dirs_exist_ok=True)
    for name in SECRETS:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        with (checkout / name).open("a") as file:
            file.write(f"atelier_workshop_admin_password: {CANARY}\n")
    files = checkout / "roles" / "api" / "files"
    (files / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    subprocess.run(
        ["docker", "build", "--quiet", "--file", str(files / "Dockerfile"), "--output", str(exported), str(checkout)],
        check=True,
        capture_output=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        timeout=120,
    )
    return exported


def test_no_secret_of_the_checkout_is_in_it(context: Path) -> None:
    held = [str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()]
    assert [name for name in held if CANARY in (context / name).read_text(errors="replace")] == []
    assert {name.partition("/")[0] for name in held} == {
        *("ansible.cfg", "constraints.txt", "pyproject.toml"),
        *("api", "docs", "library", "module_utils", "playbooks", "plugins", "roles"),
    }
    # And all that the API runs is.
    for folder in ("api", "library", "module_utils", "plugins", TEMPLATES):
        ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
        ours = {name for name in ours if "__pycache__" not in name}
        assert ours <= set(held), folder
    source = (REPOSITORY / "api" / "runner" / "operations.py").read_text()
    for playbook in (REPOSITORY / "playbooks").glob("*.yml"):
        name = playbook.stem
        if f'"{name}"' in source:
            assert f"playbooks/{name}.yml" in held


def test_a_vaulted_file_of_the_site_stops_no_job(context: Path) -> None:
    """The API's runs read neither the inventory of the checkout nor a file beside it."""
    vaulted = context / "inventory" / "group_vars" / "all" / "vault.yml"
    vaulted.parent.mkdir(parents=True)
    vaulted.write_text(VAULTED)
    program = [sys.executable, "-m", "ansible", "inventory", "--list"]
    asked = subprocess.run(
        [*program, "--inventory", str(context / "api" / "runner" / "inventory.yml")],
        cwd=context,
        env={**os.environ, "ANSIBLE_CONFIG": str(context / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "localhost" in asked.stdout
    assert "atelier_workshop_admin_password" not in asked.stdout
