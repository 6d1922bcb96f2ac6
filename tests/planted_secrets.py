"""Secrets that tests plant in a workspace, and the search for them in what others could see."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Every planted secret holds this, so that one search finds them all.
MARK = f"canary-{secrets.token_hex(6)}"
HOME = "/home/coder"


def canary(name: str) -> str:
    return f"{MARK}-{name}"


FILES: Mapping[str, tuple[str, int, int]] = {
    # path: content, owner, mode
    f"{HOME}/.git-credentials": (f"https://user:{canary('store')}@host\n", 1000, 0o600),
    f"{HOME}/.config/git/credentials": (f"https://user:{canary('xdg-store')}@host\n", 1000, 0o640),
    f"{HOME}/.gitconfig": (
        f'[user]\n\tname = A\n[url "https://{canary("url")}@host/"]\n\tinsteadOf = x\n',
        1000,
        0o644,
    ),
    f"{HOME}/.bash_history": (f"curl -H 'Authorization: {canary('history')}' host\n", 1000, 0o600),
    f"{HOME}/.ssh/id_ed25519": (f"-----BEGIN-----\n{canary('key')}\n-----END-----\n", 1000, 0o600),
    f"{HOME}/.ssh/config": (f"Host x\n# {canary('ssh-config')}\n", 1000, 0o644),
    f"{HOME}/.npmrc": (f"//registry/:_authToken={canary('npm')}\n", 1000, 0o600),
    f"{HOME}/.netrc": (f"machine host password {canary('netrc')}\n", 1000, 0o600),
    f"{HOME}/.docker/config.json": (json.dumps({"auths": {"host": {"auth": canary("docker")}}}), 1000, 0o600),
    f"{HOME}/.aws/credentials": (f"aws_secret_access_key = {canary('aws')}\n", 0, 0o644),
    f"{HOME}/.config/code-server/config.yaml": (f"password: {canary('code-server')}\n", 1000, 0o600),
    "/workspace/.git/config": (
        f'[remote "origin"]\n\turl = https://user:{canary("p@ss")}@host/x.git\n'
        f"[http]\n\textraheader = AUTHORIZATION: basic {canary('header')}\n",
        1000,
        0o644,
    ),
    f"{HOME}/.m2/settings.xml": (f"<password>{canary('maven')}</password>\n", 1000, 0o600),
    f"{HOME}/.claude.json": (json.dumps({"oauth": canary("claude")}), 1000, 0o600),
    f"{HOME}/.gemini/oauth_creds.json": (json.dumps({"token": canary("gemini")}), 1000, 0o600),
    f"{HOME}/.local/share/code-server/User/globalStorage/state.vscdb": (f"secret://{canary('ide')}", 1000, 0o644),
    "/workspace/.env": (f"PORT=3000\nexport API_KEY={canary('dotenv')}\n# {canary('comment')}\n", 1000, 0o644),
    "/workspace/.git/modules/lib/config": (f"url = https://user:{canary('module')}@host/y.git\n", 1000, 0o644),
    "/workspace/.git/modules/a/modules/b/config": (f"token = {canary('inner-module')}\n", 1000, 0o644),
    # Where two links of known places lead to.
    "/workspace/elsewhere/deploy_key": (f"{canary('linked-key')}\n", 1000, 0o600),
    "/workspace/elsewhere/kube/config": (f"token: {canary('linked-folder')}\n", 1000, 0o600),
}
LINKS = {f"{HOME}/.ssh/deploy": "/workspace/elsewhere/deploy_key", f"{HOME}/.kube": "../../workspace/elsewhere/kube"}


def archive() -> bytes:
    """The files and links as a tar archive, for the root folder."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as packed:
        folders = {str(parent) for path in FILES for parent in Path(path).parents} - {"/", "/home", HOME, "/workspace"}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o700, 1000, 1000
            packed.addfile(entry)
        for path, (text, owner, mode) in FILES.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.uid, entry.gid, entry.mode, entry.mtime = len(text), owner, owner, mode, 1_700_000_000
            packed.addfile(entry, io.BytesIO(text.encode()))
        for path, target in LINKS.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.linkname, entry.uid, entry.gid = tarfile.SYMTYPE, target, 1000, 1000
            packed.addfile(entry)
    return data.getvalue()


def holds(chunks: Iterable[bytes], needles: Iterable[str]) -> set[str]:
    """The words that are in the stream, also across the borders of its chunks."""
    wanted, found, tail = [needle.encode() for needle in needles], set(), b""
    for chunk in chunks:
        text = tail + chunk
        found |= {needle.decode() for needle in wanted if needle in text}
        tail = text[-200:]
    return found


class Watcher(threading.Thread):
    """Reads what anybody on the host can see of running processes, again and again."""

    def __init__(self, needles: Iterable[str]) -> None:
        super().__init__(daemon=True)
        self.found: set[str] = set()
        self.rounds = 0
        self._needles = [needle.encode() for needle in needles]
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.is_set():
            for kind in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{kind}"):
                    with suppress(OSError):
                        text = path.read_bytes()
                        self.found |= {f"{needle.decode()} in {path}" for needle in self._needles if needle in text}
            self.rounds += 1

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


def holders(folder: Path, words: Sequence[str]) -> list[Path]:
    """The files in a folder that hold one of the words. One that goes meanwhile, as the platform replaces files, holds
    none."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and holds([path.read_bytes()], words):
                found.append(path)
    return found


def files_below(folder: Path, since: float = 0) -> Iterator[bytes]:
    """The content of the files in a folder that were changed since then."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and path.stat().st_mtime >= since:
                yield path.read_bytes()
            yield b"\n" * 200  # so that no word spans two files
