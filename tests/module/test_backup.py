"""A backup of an installation in use, and its restore, with the real restic."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from tests.module.installation import Installation, Run, is_healthy
from tests.pauses import followed_pauses

CANARY = "canary-of-the-repository"
SECRET = "canary-of-a-seat"
# What a seat's user may leave: a deleted file of the base, a name that is no text, a link, a secret, an empty folder.
LEFT = rf"""
echo mine > /workspace/work; rm /workspace/base-only; mkdir -p /workspace/empty "$HOME/.ssh"; ln -s work /workspace/link
printf x > "/workspace/$(printf 'a\377 b')"; chmod 750 /workspace/empty
echo {SECRET} > "$HOME/.ssh/id_ed25519"; chmod 600 "$HOME/.ssh/id_ed25519"
"""
COUNT = 'i=0; while :; do i=$((i+1)); echo "$i" > /workspace/first; echo "$i" > /workspace/second; done'


def files(site: Installation, workspace: dict[str, Any]) -> dict[str, tuple[object, ...]]:
    """All that the seat's user has: names, kinds, modes, owners, times, links, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for folder in ("/workspace", "/home/coder"):
        stream, _ = site.container(workspace).get_archive(folder)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None
                digest = hashlib.sha256(content.read()).hexdigest() if content else ""
                found[entry.name] = (entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, digest)
                if not entry.isdir():
                    found[entry.name] += (entry.mtime,)
    return found


def counted(site: Installation, workspace: dict[str, Any], name: str) -> int | None:
    text = site.read(workspace, f"/workspace/{name}").decode().strip()
    return int(text) if text else None


def wipe(site: Installation) -> None:
    """Removes everything, like a purge."""
    for container in site.containers():
        container.remove(force=True, v=True)
    for volume in site.volumes():
        site.docker.volumes.get(volume).remove(force=True)
    for image in site.snapshots():
        try:
            site.docker.images.remove(image.id, force=True)
        except NotFound:
            continue
    shutil.rmtree(site.state)


class Backups:
    """A repository and the ways to it."""

    def __init__(self, site: Installation, folder: Path) -> None:
        self.site, self.repository, self.key = site, folder / "repository", folder / "key"
        self.key.touch(mode=0o600)
        self.key.write_text(CANARY)
        self.settings: dict[str, Any] = {"repository": str(self.repository), "key_file": str(self.key)}

    def make(self, **variables: Any) -> Run:
        given = {"backup_repository": str(self.repository), "atelier_backup_password_file": str(self.key)}
        return self.site.play("backup", **given | variables)

    def restore(self, state: str, **settings: Any) -> Run:
        return self.site.task("backup_restore", state=state, **self.settings | settings)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 20 MB, of which the backup of a small seat takes 4.5."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


@pytest.fixture
def backups(site: Installation, tmp_path: Path) -> Backups:
    return Backups(site, tmp_path)


def test_everything_comes_back(site: Installation, small: str, backups: Backups, tmp_path: Path) -> None:
    base = site.create(template=small, password="correct horse battery")
    site.run_inside(base, "echo base > /workspace/base-only")
    site.play("workspace_checkpoint", workspace_name="Base").succeeded()
    seat, stopped = site.clone(source="Base", names=["Seat", "Stopped"]).succeeded().seats
    for one in (seat, stopped):
        site.run_inside(one, LEFT)
    site.play("workspace_stop", workspace_name="Stopped").succeeded()
    site.container(base).exec_run(["sh", "-c", COUNT], detach=True)
    (site.state / "recordings").mkdir(exist_ok=True)
    (site.state / "recordings" / "one.jsonl").write_text("said\n")

    since = time.monotonic()
    with followed_pauses(site.name) as pauses:
        first = backups.make().succeeded().result
    assert (first["workspaces"], first["created"], first["forgotten"]) == (3, True, 0)
    # Less than a second; a machine that is busy also takes longer for all the rest.
    assert 0 < pauses.longest < max(1, (time.monotonic() - since) / 10)
    assert is_healthy(base["address"])
    # Nothing is left over, and a second one replaces the first where one is to be kept.
    assert all("/checkpoint:" in tag for tag in site.snapshot_tags())
    second = backups.make(atelier_backup_keep={"last": 1}).succeeded().result
    assert (second["created"], second["forgotten"]) == (False, 1)

    before, kept = {row["name"]: row for row in site.rows()}, sorted(site.snapshot_tags())
    had = {one["id"]: files(site, one) for one in (seat, stopped)}
    config = site.read(seat, "/etc/code-server/config.yaml")
    # Not over what is there; and each wrong word has its field.
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("wrong")
    backups.restore("fetched").failed("VALIDATION_ERROR", "replace")
    orders = (
        ({"repository": str(tmp_path / "nowhere")}, "repository"),
        ({"key_file": str(wrong)}, "key_file"),
        ({"snapshot": first["snapshot"][:8]}, "snapshot"),
    )
    for order, field in orders:
        backups.restore("fetched", replace=True, **order).failed("VALIDATION_ERROR", field)
    assert {row["name"]: row for row in site.rows()} == before

    wipe(site)
    fetched = backups.restore("fetched").succeeded().result
    assert (fetched["snapshot"], fetched["workspaces"], fetched["replaces"]) == (second["snapshot"], 3, False)
    assert not site.state.exists()
    backups.restore("placed").succeeded()
    restored = backups.restore("present").succeeded().result
    assert (restored["ids"], restored["missing"]) == (sorted((base["id"], seat["id"])), [])
    site.task("workspace_revive", ids=restored["ids"]).succeeded()

    for row in site.rows():
        assert row | {"orders": 0} == before[row["name"]] | {"orders": 0}
    assert {one["id"]: files(site, one) for one in (seat, stopped)} == had
    assert site.read(seat, "/etc/code-server/config.yaml") == config
    counts = counted(site, base, "first"), counted(site, base, "second")
    assert None in counts or counts[0] - counts[1] in (0, 1)  # type: ignore[operator]
    assert (is_healthy(base["address"]), is_healthy(seat["address"])) == (True, True)
    assert site.container(stopped).status == "created"
    # Its files are its own layer's again, as is what it deleted of the base.
    changes = {entry["Path"]: entry["Kind"] for entry in site.container(seat).diff()}
    assert (changes["/workspace/base-only"], changes["/workspace/work"]) == (2, 1)
    assert sorted(site.snapshot_tags()) == kept
    assert (site.state / "recordings" / "one.jsonl").read_text() == "said\n"
    assert site.play("reconcile").succeeded().result["drift"] == []
    # What is restored can be stopped, started and copied as before.
    site.play("workspace_start", workspace_name="Stopped").succeeded()
    (copy,) = site.clone(source="Seat", names=["Copy"]).succeeded().seats
    assert site.read(copy, "/workspace/work") == b"mine\n"
    assert SECRET.encode() not in b"".join(site.container(copy).image.save())
    # A damaged repository is refused before anything is changed, also where one byte is another.
    pack = max((backups.repository / "data").glob("*/*"), key=lambda found: found.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    shutil.rmtree(f"{site.state}.restore")
    rows = site.rows()
    backups.restore("fetched", replace=True).failed("BACKUP_FAILED", "repository")
    assert site.rows() == rows
    # The repository's password is nowhere but in its file.
    found = subprocess.run(["grep", "-rl", CANARY, str(site.folder)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_a_full_disk_loses_no_backup_and_gets_room_by_the_rules(
    site: Installation, small: str, small_disk: Path
) -> None:
    def fill(mib: int) -> None:
        site.run_inside(seat, f"head -c {mib * 1024**2} /dev/urandom > /workspace/work")

    seat = site.create(template=small)
    backups = Backups(site, small_disk)
    first = backups.make(atelier_backup_keep={}).succeeded().result["snapshot"]
    fill(20)
    failed = backups.make(atelier_backup_keep={}).failed("DISK_FULL", "repository")
    assert "atelier_backup_keep" in failed["details"]["remedy"]
    # The disk is enlarged: the backup is made, and the older one is whole.
    _mount("-o", "remount,size=40m", small_disk)
    backups.make(atelier_backup_keep={}).succeeded()
    assert backups.restore("fetched", replace=True, snapshot=first).succeeded().result["snapshot"] == first
    # It is full again. Fewer are to be kept, and that is enough: the newest has 1 MB in place of 20.
    fill(1)
    backups.make(atelier_backup_keep={}).succeeded()
    fill(20)
    assert backups.make(atelier_backup_keep={"last": 1}).succeeded().result["forgotten"] == 3
    backups.restore("fetched", replace=True).succeeded()
