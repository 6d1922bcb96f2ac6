"""The embedded git service for tests, as a process of theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.module.installation import REPOSITORY
from tests.waiting import eventually

GIT = {"service": "embedded", "owner": "developer", "seat_port": 3000}


class Service:
    """The git service, to be stopped and started."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.socket = state / "gateway" / "git" / "http.sock"
        self.socket.parent.mkdir(parents=True)
        self.data = folder / "git-data"
        self._settings = folder / "git.json"
        document = {
            "owner": "developer",
            "service_user": "atelier-service",
            "base_url": "http://localhost/git",
            "version": "1.0.0+atelier",
            "socket": str(self.socket),
            "data_dir": str(self.data),
            "max_push_bytes": 1024**2,
            "max_file_bytes": 1024**2,
            "max_repository_bytes": 8 * 1024**2,
            "max_branch_bytes": 4 * 1024**2,
            "max_objects": 10_000,
            "max_git_memory_bytes": 1024**3,
            "max_processes": 4,
            "max_per_seat": 2,
            "request_seconds": 60,
            "idle_seconds": 60,
        }
        self._settings.write_text(json.dumps(document))
        self.data.mkdir()
        made = subprocess.run([*self._command, "credentials"], env=self._environment, capture_output=True, check=True)
        credentials = state / "git" / "credentials.json"
        credentials.parent.mkdir()
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps(json.loads(made.stdout)["service"]))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "atelier_git", str(self._settings)]

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "roles/git_service/files")}

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)
        eventually(self.socket.exists, "the git service listens")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.socket.unlink(missing_ok=True)
