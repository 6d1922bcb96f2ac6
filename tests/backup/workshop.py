"""The parts of a workshop that a backup must restore, and functions to make, kill and restore one."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from tests.installed import ROOT, Installation
from tests.module.processes import descendants, kill_with_descendants

INSTANCE = "atelier-backup"
PORT = 18161
CANARY = "canary-of-the-repository"
# Columns that say what happened lately.
_LATELY = ("orders", "last_activity")
# Parts of a picture to which more may be added.
GROWING = ("audit", "jobs")


@dataclass
class Backups:
    installation: Installation
    folder: Path
    # Of the repository, if it is not the folder.
    address: str = ""

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The front door with the installation's variables; no secret is on any command line meanwhile."""
        with watched_command_lines() as seen:
            done = self.installation.run(*words)
        assert not [line for line in seen if CANARY in line]
        assert CANARY not in done.stdout + done.stderr
        return done

    def back_up(self) -> float:
        """Makes a backup; returns the seconds that it took."""
        begun = time.monotonic()
        done = self.run("backup", self.address or str(self.repository))
        assert done.returncode == 0, done.stdout[-3000:]
        return time.monotonic() - begun

    def restore(self, *words: str) -> float:
        begun = time.monotonic()
        done = self.run("restore", self.address or str(self.repository), *words)
        assert done.returncode == 0, done.stdout[-4000:]
        return time.monotonic() - begun

    def purge(self) -> None:
        done = self.installation.run("down", "--purge", "--yes")
        assert done.returncode == 0, done.stdout[-3000:]

    def killed(self, moment: float | Callable[[int], object], *words: str) -> bool:
        """Runs the front door and kills it, with all that it started, after so many seconds, or when the condition of
        its process id holds; returns whether it still ran."""
        process = subprocess.Popen(
            [str(ROOT / "atelier"), *words, "-e", f"@{self.installation.variables}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        begun = time.monotonic()
        while (ran := process.poll() is None) and not (
            moment(process.pid) if callable(moment) else time.monotonic() - begun > moment
        ):
            time.sleep(0.02)
        kill_with_descendants(process.pid)
        process.wait(30)
        return ran

    def loads_images(self, pid: int) -> bool:
        """Whether the restore of that process id has its files in place, and reads the workspaces' images."""
        placed = (self.installation.state_dir / "backup/restoring").exists()
        return placed and any("restic dump" in _command_line(found) for found in descendants(pid))

    def creates_workspaces(self, _: int) -> bool:
        """Whether the restore has created the first one."""
        return bool(self.seats())

    # --- Looking ----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None) -> Any:
        token = (self.installation.state_dir / "api" / "token").read_text().strip()
        request = urllib.request.Request(
            f"https://localhost:{PORT}{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
            method=method,
        )
        trusted = ssl.create_default_context(cafile=self.authority)
        with urllib.request.urlopen(request, timeout=120, context=trusted) as answer:  # noqa: S310 - our own gateway
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    @property
    def authority(self) -> Path:
        return self.installation.state_dir / "tls" / "ca.pem"

    def rows(self, table: str) -> list[dict[str, Any]]:
        with sqlite3.connect(self.installation.state_dir / "registry.sqlite3") as db:
            db.row_factory = sqlite3.Row
            found = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]  # noqa: S608 - ours
        return [{key: value for key, value in row.items() if key not in _LATELY} for row in found]

    def branches(self) -> dict[str, str]:
        """The branches of all repositories, with their commits."""
        found = {}
        for repository in sorted((self.installation.state_dir / "git" / "data").rglob("HEAD")):
            words = ["git", "-C", str(repository.parent), "-c", "safe.directory=*", "for-each-ref"]
            said = subprocess.run(
                [*words, "--format=%(refname) %(objectname)"], capture_output=True, text=True, check=True
            )
            found[repository.parent.name] = said.stdout
        return found

    def picture(self) -> dict[str, Any]:
        """All that must be the same afterwards."""
        state = self.installation.state_dir
        return {
            **{name: self.rows(name) for name in ("workspaces", "claims", "aliases", "shared_ports", "jobs")},
            "audit": (state / "audit" / "audit.log").read_text().splitlines(),
            "whitelists": {key: self.call("GET", "/api/whitelist")[key] for key in ("domains", "groups")},
            "certificates": digests(state / "tls"),
            "branches": self.branches(),
            "secrets": {
                name: (state / name).read_text() for name in ("api/token", "names.key", "git/credentials.json")
            },
            "sheet": self.installation.sheet.read_text(),
            "files": {seat.name: files(seat) for seat in self.seats()},
            # Which hold the password's hash.
            "settings": [entries(seat, "/etc/code-server/config.yaml") for seat in self.seats()],
            "recordings": digests(state / "recordings"),
        }

    def seats(self) -> list[Any]:
        api = docker.from_env()
        labels = [f"atelier.instance={INSTANCE}", "atelier.workspace"]
        found = api.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda seat: str(seat.labels["atelier.name"]))

    def seat(self, name: str) -> Any:
        return next(seat for seat in self.seats() if seat.labels["atelier.name"] == name)

    def inside(self, seat: Any, script: str) -> str:
        code, output = seat.exec_run(["sh", "-c", script], user="coder")
        assert code == 0, output.decode()
        return str(output.decode().strip())


def digests(folder: Path) -> dict[str, str]:
    """The digests of all files below the folder, of which there are some."""
    found = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    assert found, folder
    return found


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def files(seat: Any) -> dict[str, tuple[object, ...]]:
    """All that the seat's user has, without code-server's own notes of its last start."""
    found = entries(seat, "/workspace") | entries(seat, "/home/coder")
    return {name: what for name, what in found.items() if "/share/code-server" not in name}


def entries(seat: Any, path: str) -> dict[str, tuple[object, ...]]:
    """Names, kinds, modes, owners, links and contents of what is at the path, in a seat that runs or not."""
    found: dict[str, tuple[object, ...]] = {}
    stream, _ = seat.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content else ""
            found[entry.name] = (entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, digest)
    return found


@contextmanager
def watched_command_lines() -> Iterator[set[str]]:
    """All command lines of the machine that are seen meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                seen.add(_command_line(int(file.parent.name)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
