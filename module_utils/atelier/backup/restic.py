"""The program restic, run for one repository. It stores, encrypts, deduplicates and forgets; see docs/backup.md.

The password and the storage's credentials are in files that only root reads; no command line has them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.plain_text import last_of, on_one_line

# Low priority, so that seats stay fast. restic is terminated when its parent process ends.
_PROGRAM = ("nice", "-n", "10", "setpriv", "--pdeathsig", "TERM", "restic")
_CHUNK = 1024**2
_LONGEST_REASON = 400
# restic's own exit codes (its documentation, "Scripting"); versions before 0.17 have 1 for all.
_NO_REPOSITORY, _LOCKED, _WRONG_PASSWORD = 10, 11, 12
_KEEP_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
# restic retries for 15 minutes if the storage is unreachable or refuses the credentials. Opening the repository fails
# earlier.
_ANSWER_SECONDS = 45.0
# Time to terminate; after that restic is killed, because it waits for programs such as ssh.
_END_SECONDS = 5.0
_TRIED = re.compile(r"retrying after [^:]*: (.*)")
# Printed by versions without exit codes if they cannot read a repository's settings; _NOT_THERE: if it is missing.
_ASKED = "Is there a repository at the following location?"
_NOT_THERE = re.compile(
    r"does(?: not|n't) exist(?! in our records)|no such file|object not found|\b404\b", re.IGNORECASE
)
_NO_BUCKET = re.compile(r"bucket does not exist", re.IGNORECASE)
# Digits before a slash are a port: a path may have an @.
_WITH_PASSWORD = re.compile(r"//[^/@:\[]*:(?!\d+/)[^@]*@")
_ADDRESS = re.compile(r"(?:sftp|rest|s3|swift|b2|azure|gs|rclone):")


@dataclass(frozen=True)
class Source:
    """A repository and the files that open it. ``environment_file`` is None where the storage needs no credentials."""

    repository: str
    key_file: Path
    environment_file: Path | None = None

    @property
    def folder(self) -> Path | None:
        """The repository's folder on this machine; None if the repository is elsewhere."""
        return None if _ADDRESS.match(self.repository) else Path(self.repository.removeprefix("local:"))

    def check(self, state_dir: Path) -> Mapping[str, str]:
        """Returns the environment file's variables. Raises VALIDATION_ERROR with the setting's name."""
        if _WITH_PASSWORD.search(self.repository):
            raise invalid("backup.password_in_address", "repository")
        if self.folder is not None and not self.folder.is_absolute():
            raise invalid("backup.not_absolute", "repository", repository=self.repository)
        if self.folder is not None and self.folder.resolve().is_relative_to(state_dir.resolve()):
            raise invalid("backup.in_state", "repository", repository=self.repository)
        if not self.key_file.is_file() or not self.key_file.read_bytes().strip():
            raise invalid("backup.no_key_file", "key_file", file=self.key_file)
        _check_private(self.key_file, "key_file", "atelier_backup_password_file")
        if self.environment_file is None:
            return {}
        if not self.environment_file.is_file():
            raise invalid("backup.no_environment_file", "environment_file", file=self.environment_file)
        _check_private(self.environment_file, "environment_file", "atelier_backup_environment_file")
        return variables_in(self.environment_file)


def source_of(given: Mapping[str, Any]) -> Source:
    """The source of a module's parameters."""
    environment = given["environment_file"]
    return Source(given["repository"], Path(given["key_file"]), Path(environment) if environment else None)


def variables_in(file: Path) -> dict[str, str]:
    """The variables of a file with lines ``NAME=value``; a value may be quoted, ``#`` begins a comment line."""
    found: dict[str, str] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*", line)
        if match is None:
            raise invalid("backup.bad_variable", "environment_file", file=file, line=number)
        value = match[2]
        found[match[1]] = value[1:-1] if re.fullmatch(r"(['\"]).*\1", value) else value
    return found


def keep_options(keep: Mapping[str, Any]) -> list[str]:
    """The options of ``restic forget`` for rules such as ``{"daily": 7}``. Raises VALIDATION_ERROR for others."""
    for rule, count in keep.items():
        if rule not in _KEEP_RULES or not str(count).isdecimal() or not int(count):
            raise invalid("backup.bad_keep", "keep", rule=f"{rule}: {count}", rules=", ".join(_KEEP_RULES))
    return [f"--keep-{rule}={int(count)}" for rule, count in keep.items()]


class Restic:
    """Runs restic. Methods raise VALIDATION_ERROR for a missing repository or a wrong password, DISK_FULL for a full
    one, and BACKUP_FAILED with restic's output otherwise, also if the storage does not answer. ``host`` is the host
    name of its snapshots."""

    def __init__(self, source: Source, variables: Mapping[str, str], host: str, cache: Path) -> None:
        self._source, self._host = source, host
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/root"),
            **variables,
            "RESTIC_REPOSITORY": source.repository,
            "RESTIC_PASSWORD_FILE": str(source.key_file),
            "RESTIC_CACHE_DIR": str(cache),
            "RESTIC_PROGRESS_FPS": "0.2",
            # restic's temporary packs: /tmp may be in memory.
            "TMPDIR": str(cache.parent),
        }

    # --- The repository ---------------------------------------------------------------------------------------------

    def open(self, *, create: bool) -> bool:
        """Checks that the password opens the repository, and removes locks of processes that no longer run; returns
        whether the repository had to be created."""
        try:
            self._run("cat", "config", seconds=_ANSWER_SECONDS)
        except AtelierError as error:
            if not create or error.details.get("missing") is not True:
                raise
            folder = self._source.folder
            if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                # It may be a damaged repository.
                raise invalid("backup.not_empty", "repository", repository=self._source.repository) from error
            self._run("init")
            return True
        self._run("unlock")
        return False

    def check(self) -> None:
        """Raises BACKUP_FAILED for a damaged repository. Its data is verified when it is read."""
        try:
            self._run("check")
        except AtelierError as error:
            if error.code is Code.BACKUP_FAILED and not error.details.get("locked"):
                raise self.damaged(error.message) from error
            raise

    def check_owner(self, tag: str) -> None:
        """Raises VALIDATION_ERROR if the repository has another installation's snapshots with that tag."""
        others = {str(snapshot["hostname"]) for snapshot in self.snapshots(tag)} - {self._host}
        if others:
            names, repository = ", ".join(others), self._source.repository
            raise invalid("backup.other_installation", "repository", repository=repository, names=names)

    def damaged(self, said: str) -> AtelierError:
        why = Message("backup.damaged", repository=self._source.repository, said=said)
        return AtelierError(Code.BACKUP_FAILED, why, field="repository")

    # --- Snapshots --------------------------------------------------------------------------------------------------

    def snapshots(self, tag: str) -> list[dict[str, Any]]:
        """restic's snapshots that have the tag, oldest first."""
        found = self._list("snapshots", "--json", f"--tag={tag}")
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def store_stream(self, name: str, pieces: Iterable[bytes], tags: Sequence[str]) -> str:
        """Stores a stream as the file ``name``; returns the snapshot's id. No snapshot is made if the stream raises."""
        words = ["backup", "--json", "--stdin", f"--stdin-filename={name}", *self._labels(tags)]
        with self._started(words, stdin=subprocess.PIPE) as (process, output):
            assert process.stdin is not None  # noqa: S101 - for the type checker
            try:
                # restic itself prints why it stopped reading.
                with suppress(BrokenPipeError):
                    for piece in pieces:
                        process.stdin.write(piece)
                with suppress(BrokenPipeError):
                    process.stdin.close()
            except BaseException:
                # Do not close the stream: restic would store the part as if it were complete.
                process.kill()
                with suppress(BrokenPipeError):
                    process.stdin.close()
                raise
            return self._stored(self._ended(process, output))

    def store_folder(self, folder: Path, excluded: Sequence[str], tags: Sequence[str]) -> str:
        """Stores a folder with all below it, except what is excluded; returns the snapshot's id."""
        excludes = (f"--exclude={path}" for path in excluded)
        return self._stored(self._run("backup", "--json", *self._labels(tags), *excludes, str(folder)))

    def read(self, snapshot: str, name: str) -> Generator[bytes]:
        """The stored file in pieces. Raises BACKUP_FAILED at a piece that is damaged."""
        with self._started(["dump", snapshot, f"/{name}"], stdout=subprocess.PIPE) as (process, output):
            assert process.stdout is not None  # noqa: S101 - for the type checker
            try:
                while piece := process.stdout.read(_CHUNK):
                    yield piece
            except BaseException:
                process.kill()
                raise
            self._ended(process, output)

    def restore(self, snapshot: str, target: Path) -> None:
        """Writes the snapshot's files below the target, with owners, modes and times."""
        try:
            self._run("restore", snapshot, f"--target={target}")
        except AtelierError as error:
            if error.code is Code.DISK_FULL:  # this machine's
                full = Message("disk_full_at", folder=target)
                raise AtelierError(error.code, full, field="site.state_dir") from error
            raise

    def forgettable(self, tag: str, keep: Mapping[str, Any]) -> list[str]:
        """The ids of the snapshots with the tag that no rule keeps; without rules none."""
        rules = keep_options(keep)
        if not rules:
            return []
        of = (f"--host={self._host}", "--group-by=host", f"--tag={tag}")
        groups = self._list("forget", "--dry-run", "--json", *of, *rules)
        return [str(snapshot["id"]) for group in groups for snapshot in group["remove"] or ()]

    def remove(self, ids: Sequence[str]) -> None:
        """Forgets snapshots by their ids, and frees the space that nothing else uses."""
        if ids:
            self._run("forget", "--quiet", *ids)
        try:
            self._run("prune", "--quiet")
        except AtelierError as error:
            if error.code is not Code.DISK_FULL:
                raise
            # Only delete: there is no room to repack partly used packs.
            self._run("prune", "--quiet", "--max-repack-size=0")

    # --- Running ----------------------------------------------------------------------------------------------------

    def _labels(self, tags: Sequence[str]) -> list[str]:
        return [f"--host={self._host}", *(f"--tag={tag}" for tag in tags)]

    def _run(self, *words: str, seconds: float | None = None) -> str:
        with self._started(words) as (process, output):
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                tried = _TRIED.findall(_text(output))
                said = on_one_line(tried[-1])[:_LONGEST_REASON] if tried else ""
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                if _NO_BUCKET.search(said):
                    raise self._missing() from error
                params = {"repository": self._source.repository, "seconds": seconds, "said": said}
                why = Message("backup.no_answer_but" if said else "backup.no_answer", **params)
                raise AtelierError(Code.BACKUP_FAILED, why, field="repository") from error
            return self._ended(process, output)

    def _list(self, *words: str) -> list[dict[str, Any]]:
        """The program's output as JSON; empty if there is none."""
        return json.loads(self._run(*words) or "[]") or []

    def _stored(self, output: str) -> str:
        """The id of the snapshot that the program's output names."""
        for line in reversed(output.splitlines()):
            with suppress(ValueError):
                if (told := json.loads(line)).get("message_type") == "summary":
                    return str(told["snapshot_id"])
        raise self._failed(Message("backup.no_snapshot_named"))

    @contextmanager
    def _started(
        self, words: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        """The running program, with the file that takes its errors and, unless that is piped, its output."""
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    [*_PROGRAM, *words], stdin=stdin, stdout=stdout or output, stderr=output, env=self._environment
                )
            except FileNotFoundError as error:
                raise self._failed(Message("backup.program_missing", program=error.filename)) from error
            with process:
                try:
                    yield process, output
                except BaseException:
                    process.terminate()
                    raise

    def _ended(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> str:
        """The program's output, when it has ended. Raises its error."""
        if code := process.wait():
            raise self._error(code, _text(output))
        return _text(output)

    def _error(self, code: int, said: str) -> AtelierError:
        repository = self._source.repository
        if code == _WRONG_PASSWORD or "wrong password or no key found" in said:
            return invalid("backup.wrong_key", "key_file", file=self._source.key_file, repository=repository)
        before, asked, _ = said.partition(_ASKED)
        if code == _NO_REPOSITORY or (asked and _NOT_THERE.search(before)):
            return self._missing()
        if "no space left on device" in said or "disk quota exceeded" in said:
            why = Message("backup.repository_full", repository=repository)
            return AtelierError(Code.DISK_FULL, why, field="repository")
        if code == _LOCKED or "unable to create lock" in said:
            why = Message("backup.locked", repository=repository, said=_reason(said))
            return AtelierError(Code.BACKUP_FAILED, why, field="repository", locked=True)
        return self._failed(_reason(said) or Message("backup.exit_code", code=code))

    def _missing(self) -> AtelierError:
        why = Message("backup.no_repository", repository=self._source.repository)
        return AtelierError(Code.VALIDATION_ERROR, why, field="repository", missing=True)

    def _failed(self, said: str) -> AtelierError:
        why = Message("backup.failed", repository=self._source.repository, said=said)
        return AtelierError(Code.BACKUP_FAILED, why, field="repository")


def _check_private(file: Path, field: str, setting: str) -> None:
    found = file.stat()
    if found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise invalid("backup.file_readable", field, file=file, setting=setting)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _reason(said: str) -> str:
    """The end of what restic printed, without its progress."""
    lines = [line for line in said.splitlines() if line.strip() and '"message_type":"status"' not in line]
    return last_of(on_one_line("\n".join(lines)), _LONGEST_REASON)
