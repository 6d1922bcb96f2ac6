"""Secrets of the source: searched for everywhere that a clone, Docker or an observer could see them."""

from __future__ import annotations

import csv
import io
import json
import secrets
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.module.installation import Installation, Run
from tests.module.killing import TRIES, a_container_is_made, kill_when, secrets_are_held_back
from tests.module.small_image import SMALL
from tests.planted_secrets import FILES, HOME, MARK, Watcher, archive, canary, files_below, holds

GIVEN = f"given-{secrets.token_hex(6)}"
HARD_LINKS = {f"{HOME}/.ssh/id_copy": f"{HOME}/.ssh/id_ed25519"}


@pytest.fixture
def source(site: Installation, small: str) -> dict[str, Any]:
    """A workspace with a secret in every known place, and one in its container's environment and labels."""
    made = site.create(template=small, password=f"source-{MARK}")
    _recreate_with_secrets_in_environment(site, made)
    container = site.container(made)
    container.put_archive("/", archive())
    for link, target in HARD_LINKS.items():
        assert container.exec_run(["ln", target, link], user="coder").exit_code == 0
    return made


def _recreate_with_secrets_in_environment(site: Installation, made: Mapping[str, Any]) -> None:
    """The same container as the workspace's, but made by hand as ``docker create -e`` would."""
    old = site.container(made).attrs
    site.container(made).remove(force=True)
    name, network = site.container_name(made), site.variables["atelier_network_open_name"]
    api = site.docker.api
    created = api.create_container(
        SMALL,
        name=name,
        labels=old["Config"]["Labels"] | {"note": canary("label")},
        environment={"TOKEN": canary("environment")},
        host_config=api.create_host_config(network_mode=network, binds=[f"{site.volume_name(made)}:/etc/code-server"]),
        networking_config=api.create_networking_config(
            {network: api.create_endpoint_config(ipv4_address=made["address"])}
        ),
    )
    api.start(created["Id"])


def _seen_in(site: Installation, workspace: Mapping[str, Any]) -> dict[str, tuple[str, int, int, float]]:
    """Content, owner, mode and time of modification of each planted file, as the workspace has it now."""
    stream, _ = site.container(workspace).get_archive("/")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        for entry in archive:
            path = f"/{entry.name.removeprefix('./').lstrip('/')}"
            if path in FILES and (entry.isfile() or entry.islnk()):
                file = archive.extractfile(entry)
                assert file is not None
                found[path] = (file.read().decode(), entry.uid, entry.mode, float(entry.mtime))
    return found


def _clone(site: Installation, sheet: Path) -> Run:
    """One seat with a given password, one with a generated one, with everything shown that Ansible can show."""
    task = site.write_task(
        "clone",
        source="Base",
        names=["Ann", "Ben"],
        passwords={"Ann": GIVEN},
        generate_passwords=True,
        seats_csv=str(sheet),
    )
    # The planted environment of the source itself is no finding.
    watcher = Watcher([GIVEN, f"source-{MARK}"])
    watcher.start()
    run = site.play(task, "-vvv")
    watcher.stop()
    assert watcher.rounds > 3
    assert watcher.found == set()
    return run.succeeded()


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_no_secret_leaves_the_source(
    site: Installation, source: dict[str, Any], state: str, tmp_path: Path, small: str
) -> None:
    if state == "stopped":
        site.play("workspace_stop", workspace_name="Base").succeeded()
    planted = _seen_in(site, source)
    assert {path: value[:3] for path, value in planted.items()} == dict(FILES)
    began = time.time()
    run = _clone(site, tmp_path / "seats.csv")

    # The source has everything back, byte for byte.
    assert _seen_in(site, source) == planted
    assert site.container(source).status == ("running" if state == "running" else "exited")
    assert site.read(source, f"{HOME}/.ssh/id_copy").decode() == FILES[f"{HOME}/.ssh/id_ed25519"][0]

    source_hash = site.row("Base")["password_hash"]
    seat_password = {row["name"]: row["password"] for row in csv.DictReader((tmp_path / "seats.csv").open())}
    assert seat_password["Ann"] == GIVEN
    everything = [MARK, source_hash, *seat_password.values()]

    # The clones: their files, their configuration, what Docker says of them.
    for seat in run.seats:
        container = site.container(seat)
        assert holds(container.export(), everything) == set()
        assert holds(container.get_archive("/etc/code-server")[0], everything) == set()
        assert holds([json.dumps(container.attrs).encode()], [*everything, seat["id"] + "-secret"]) == set()
        environment = container.exec_run(["cat", "/proc/1/environ", "/proc/1/cmdline"]).output
        assert holds([environment], everything) == set()
    # What is no secret did come along.
    assert site.read(run.seats[0], f"{HOME}/.gitconfig").decode().startswith('[user]\n\tname = A\n[url "https://host/')
    assert "url = https://host/x.git" in site.read(run.seats[0], "/workspace/.git/config").decode()
    assert json.loads(site.read(run.seats[0], f"{HOME}/.docker/config.json")) == {}
    assert site.read(run.seats[0], "/workspace/.env") == b"PORT=\nexport API_KEY=\n"

    # Their image: its configuration, its history, and all its layers.
    (image,) = site.snapshots()
    assert holds([json.dumps([image.attrs, image.history()]).encode()], everything) == set()
    assert holds(image.save(), everything) == set()

    # The output for people and log collectors. A generated password is returned once, in the result.
    assert holds([run.output.encode()], [MARK, source_hash, GIVEN]) == set()
    assert holds(files_below(Path("/var/log"), since=began), everything) == set()

    # What stays on disk: the sheet, which only its owner reads, and hashes.
    assert (tmp_path / "seats.csv").stat().st_mode & 0o777 == 0o600
    assert holds(files_below(site.state), [MARK, *seat_password.values()]) == set()
    for folder in ("ansible", "tmp"):
        assert holds(files_below(site.folder / folder), everything) == set()
    assert list((site.state / "snapshots").iterdir()) == []


def test_the_snapshot_itself_while_it_exists(site: Installation, source: dict[str, Any]) -> None:
    """The snapshot's tag is visible for a moment: even then it contains no secret."""
    started = site.start(site.write_task("clone", source="Base", names=["Ann", "Ben", "Cem"]))
    seen: dict[str, set[str]] = {}
    while started.process.poll() is None:
        for image in site.snapshots():
            # The commit's own image still has the container's environment, for the moment until it is replaced.
            if image.labels.get("atelier.snapshot") and image.attrs["Config"].get("Env") and image.id not in seen:
                with suppress(Exception):
                    text = json.dumps([image.attrs.get("RootFS"), image.history()]).encode()
                    seen[image.id] = holds([text], [MARK]) | holds(image.save(), [f"{MARK}-store", f"{MARK}-key"])
        time.sleep(0.01)
    started.wait().succeeded()
    assert seen
    assert all(found == set() for found in seen.values()), seen


def test_what_a_killed_run_leaves_behind(site: Installation, source: dict[str, Any], tmp_path: Path) -> None:
    """Only the journal of a snapshot holds the source's secrets, and only the sheet the seats' passwords."""
    order = {"source": "Base", "names": ["Ann", "Ben"], "password": GIVEN, "seats_csv": str(tmp_path / "seats.csv")}
    journal = site.state / "snapshots" / f"{source['id']}.json"
    for _ in range(TRIES):
        started = site.start(site.write_task("clone", **order))
        with site.newest_held(3):
            kill_when(started, lambda: secrets_are_held_back(site, source) or a_container_is_made(site, source))
        if journal.exists():
            break
        # They were put back before it could be killed.
        site.play("reconcile", repair=True).succeeded()
    assert (journal.stat().st_mode & 0o777, journal.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    journal.unlink()
    for folder in (site.state, site.folder / "ansible", site.folder / "tmp"):
        assert holds(files_below(folder), [MARK, GIVEN]) == set()


def test_something_that_cannot_be_held_back_is_no_snapshot(site: Installation, source: dict[str, Any]) -> None:
    """A known place that is far too large to be a place of secrets: rather no clone than one with it inside."""
    script = "mkdir -p ~/.gnupg && head -c 40000000 /dev/zero > ~/.gnupg/huge"
    assert site.container(source).exec_run(["sh", "-c", f"HOME={HOME}; {script}"]).exit_code == 0
    run = site.clone(source="Base", count=2)
    assert run.returncode != 0
    assert ".gnupg" in run.result["msg"]
    site.is_tidy(["Base"])
    assert not site.container(source).attrs["State"]["Paused"]


def test_odd_things_in_known_places(site: Installation, source: dict[str, Any]) -> None:
    """Broken, circular or far-reaching links, and files instead of folders: clones still succeed, and only secrets are
    removed."""
    script = (
        "rm -rf .azure .pypirc .m2 .codex .gnupg;"
        "ln -s /no/where .azure; ln -s .pypirc .pypirc; echo x > .codex; echo x > .m2;"
        "ln -s ../.ssh .ssh/ring; mkdir -p .gnupg; ln -s ../.ssh .gnupg/other;"
        "ln -s / .ssh/x; ln -s /etc .oci; ln -s /workspace .ssh/work; ln -s .. .gnupg/home;"
        "head -c 40000000 /dev/zero > large; echo kept > /workspace/kept"
    )
    result = site.container(source).exec_run(["sh", "-c", f"cd {HOME} && {script}"])
    assert result.exit_code == 0, result.output
    seats = site.clone(source="Base", count=1).succeeded().seats
    assert holds(site.container(seats[0]).export(), [MARK]) == set()
    assert site.read(seats[0], "/workspace/kept") == b"kept\n"
    assert site.read(seats[0], "/etc/passwd") == site.read(source, "/etc/passwd") != b""


def test_more_links_than_can_be_followed(site: Installation, source: dict[str, Any]) -> None:
    script = "mkdir -p .gnupg && cd .gnupg && i=0; while [ $i -lt 100 ]; do ln -s ../x$i l$i; i=$((i+1)); done"
    assert site.container(source).exec_run(["sh", "-c", f"cd {HOME} && {script}"]).exit_code == 0
    run = site.play("workspace_checkpoint", workspace_name="Base")
    run.failed("SNAPSHOT_FAILED", "source")
    assert ".gnupg" in run.result["msg"] and "Move or remove" in run.result["msg"]
