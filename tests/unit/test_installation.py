"""The record of the Atelier that made an installation, and the output of ./atelier version."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Status
from atelier.database.migrations import VERSION
from atelier.host import installation
from atelier.host.installation import (
    installed,
    newer_version,
    note,
    of_checkout,
    refuse_newer,
    refuse_unnamed_nodes,
    report,
)
from support import open_store, order, refused

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what images and settings are made from, without git."""
    folder = tmp_path_factory.mktemp("checkout").resolve()
    for name in ("api", "inventory", "library", "module_utils", "playbooks", "plugins", "roles"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("ansible.cfg", "constraints.txt", "pyproject.toml", "atelier"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def write(state: Path, **values: object) -> None:
    state.joinpath("installed.json").write_text(json.dumps(asdict(of_checkout()) | values))


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    assert installed(tmp_path) is None
    note(tmp_path)
    found = installed(tmp_path)
    assert found is not None
    assert replace(found, at="") == replace(of_checkout(), at="")
    assert (found.checkout, found.schema) == (str(ROOT), VERSION)
    assert (tmp_path / "installed.json").stat().st_mode & 0o777 == 0o600
    for text in ("", "[]", "{}", '{"version": "9"}'):
        (tmp_path / "installed.json").write_text(text)
        assert installed(tmp_path) is None
        refuse_newer(tmp_path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, version="0.2.0")
    refuse_newer(tmp_path)
    write(tmp_path, version="0.100.0", commit="0123456789ab")
    with pytest.raises(AtelierError) as error:
        refuse_newer(tmp_path)
    told = refused(error, Code.VALIDATION_ERROR, "version")
    assert "0.100.0" in told and "0123456789ab" in told
    assert report(tmp_path)[-1].startswith("./atelier up is refused: Atelier 0.100.0 is installed here")


def test_what_only_a_newer_version_notes_does_not_hide_it(tmp_path: Path) -> None:
    write(tmp_path, version="0.100.0", fresh={"of": "later"})
    with pytest.raises(AtelierError) as error:
        refuse_newer(tmp_path)
    refused(error, Code.VALIDATION_ERROR, "version")
    assert newer_version(tmp_path) == "0.100.0"
    write(tmp_path, fresh={"of": "later"})
    assert newer_version(tmp_path) is None


def test_a_newer_database_is_refused_also_without_a_note(tmp_path: Path) -> None:
    open_store(tmp_path).__exit__(None, None, None)
    refuse_newer(tmp_path)
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(AtelierError) as error:
        refuse_newer(tmp_path)
    refused(error, Code.REGISTRY_ERROR, "site.state_dir")


def test_an_inventory_that_lacks_machines_with_workspaces_is_refused(tmp_path: Path) -> None:
    """An ``up`` that does not name the inventory would lose the workspaces of the nodes."""
    refuse_unnamed_nodes(tmp_path, ["controller"])
    with open_store(tmp_path) as store:
        for node in ("controller", "beta", "alpha", "lost"):
            (row,) = store.reserve([order(node)])
            store.update(row.id, node=node)
        store.update(row.id, status=Status.ERROR, error=Message("machine_removed", node="lost"))
    refuse_unnamed_nodes(tmp_path, ["controller", "alpha", "beta", "gamma"])
    with pytest.raises(AtelierError) as error:
        refuse_unnamed_nodes(tmp_path, ["controller", "gamma"])
    told = refused(error, Code.VALIDATION_ERROR, "site.nodes")
    assert "does not name them: alpha, beta." in told


def test_a_database_of_one_machine_s_version_has_no_other(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        db.execute("CREATE TABLE workspaces (id TEXT)")
    refuse_unnamed_nodes(tmp_path, ["controller"])


def test_the_report_names_what_would_change(tmp_path: Path, checkout: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    assert report(state, checkout)[1:] == [f"Nothing is installed in {state}."]
    with closing(sqlite3.connect(state / "registry.sqlite3")) as db:
        db.execute("PRAGMA user_version = 5")
    before = report(state, checkout)
    assert "left no note" in before[1]
    assert before[3] == f"  - change the database from schema 5 to {VERSION}, after a copy was put aside"

    (state / "registry.sqlite3").unlink()
    (state / "installed.json").write_text(json.dumps(asdict(of_checkout(checkout))))
    assert report(state, checkout)[2:] == ["Its database, images and defaults are those of this checkout."]
    newer = tmp_path / "newer"
    shutil.copytree(checkout, newer, symlinks=True)
    with (newer / "roles/workspace_image/files/ide/Dockerfile").open("a") as file:
        file.write("# newer\n")
    settings = newer / "inventory/group_vars/all/platform.yml"
    text = settings.read_text().replace("atelier_ready_timeout: 60", "atelier_ready_timeout: 61\natelier_fresh: 1")
    settings.write_text(text.replace("atelier_recorder_port: 8080\n", ""))
    assert report(state, newer)[2:] == [
        "./atelier up would:",
        "  - rebuild images: the IDE",
        "  - take other defaults of settings: atelier_ready_timeout, atelier_fresh (new), atelier_recorder_port (gone)",
    ]


def test_the_commit_is_that_of_the_checkout_itself(tmp_path: Path, checkout: Path) -> None:
    outer = tmp_path / "outer"
    inner = outer / "atelier"
    shutil.copytree(checkout, inner, symlinks=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C"]

    def commit(folder: Path) -> str:
        subprocess.run([*git, folder, "init", "-q"], check=True)
        subprocess.run([*git, folder, "add", "ansible.cfg" if folder == inner else "."], check=True)
        subprocess.run([*git, folder, "commit", "-qm", "x"], check=True)
        told = subprocess.run([*git, folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        return told.stdout[:12]

    commit(outer)
    assert of_checkout(inner.resolve()).commit == ""
    made = commit(inner)
    found = of_checkout(inner.resolve())
    assert (found.commit, found.changed) == (made, False)
    (inner / "ansible.cfg").write_text("")
    assert of_checkout(inner.resolve()).changed


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert of_checkout(checkout).commit == ""


def test_the_front_door_tells_it(tmp_path: Path) -> None:
    said = subprocess.run([ROOT / "atelier", "version", tmp_path], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0].startswith(f"Atelier {of_checkout().version}")
    assert said.splitlines()[1] == f"Nothing is installed in {tmp_path}."


def test_the_places_of_the_sources_are_there() -> None:
    for paths in installation._IMAGES.values():
        assert [path for path in paths if not (ROOT / path).exists()] == []
