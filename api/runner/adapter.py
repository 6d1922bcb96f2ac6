"""The only importer of ansible_runner: one execution of one playbook, which can be cancelled reliably.

Cancelling ansible-runner kills its own process group, but ansible-core's workers start new sessions and survive. So
every process of an execution carries its id in the environment, and cancelling kills all of them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner
import psutil
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, untagged

log = logging.getLogger(__name__)

_MARK = "ATELIER_EXECUTION"
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_OUTPUT_END = 500
# In memory, because a run's variables may hold secrets that must not outlive it.
_SCRATCH = Path("/dev/shm")  # noqa: S108 - folders made there are private


@dataclass(frozen=True)
class Execution:
    """A playbook run. ``deadline`` in seconds; ``variables`` may hold secrets, which are deleted after the run."""

    id: str
    playbook: Path
    inventory: Path
    variables: Mapping[str, Any] = field(repr=False)
    deadline: float


@dataclass(frozen=True)
class Ended:
    """The end of a run: ``successful``, ``failed`` (the play failed), ``error`` (it could not run) or ``canceled``.

    ``results``: the results of successful tasks by module name; task titles are for people. If several tasks use a
    module, the last one counts. ``error``: the failed task's error, as its module reported it.
    """

    state: str
    results: Mapping[str, Mapping[str, Any]]
    error: AtelierError | None = None

    @property
    def outcome(self) -> str:
        """The end of the run in the audit log."""
        return self.state if self.error is None else f"{self.state}: {self.error.code}"


@dataclass(frozen=True)
class Note:
    """An event of a run: the start of a task, or a step of one (``done`` of ``total``)."""

    text: str
    done: int | None = None
    total: int | None = None


def execute(execution: Execution, notify: Callable[[Note], None], canceled: threading.Event) -> Ended:
    """Runs the playbook to its end, the deadline or the cancellation, and leaves no process and no file behind."""
    folder = Path(tempfile.mkdtemp(prefix=_prefix(execution.id), dir=_scratch()))
    events = _Events(notify)
    watch = _Watch(execution, folder, notify, canceled)
    try:
        _prepare(execution, folder)
        watch.start()
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=str(execution.playbook),
            inventory=str(execution.inventory),
            ident=execution.id,
            quiet=True,
            event_handler=events.take,
            cancel_callback=lambda: watch.expired or canceled.is_set(),
        )
        state = str(runner.status)
        output = "" if state == "successful" else _end_of(runner)
    except Exception as error:  # the boundary: an error of ansible-runner ends this run, not the API
        log.exception("execution %s could not run", execution.id)
        return Ended("error", events.results, AtelierError(Code.RUN_FAILED, Message("run_failed", why=error)))
    finally:
        watch.stop()
        _end_all(execution.id)
        shutil.rmtree(folder, ignore_errors=True)
    if state == "successful":
        return Ended(state, events.results)
    if canceled.is_set():
        return Ended("canceled", events.results, AtelierError(Code.CANCELED, Message("canceled")))
    if watch.expired:
        late = Message("run_too_long", seconds=execution.deadline)
        return Ended("error", events.results, AtelierError(Code.RUN_FAILED, late))
    if runner.rc is None:
        return Ended("error", events.results, AtelierError(Code.RUN_FAILED, Message("run_killed")))
    if events.error:
        return Ended("failed", events.results, events.error)
    return Ended("error", events.results, AtelierError(Code.RUN_FAILED, Message("run_failed", why=output)))


def end_leftover(execution_id: str) -> None:
    """Ends the processes of an execution whose API was killed, and takes its files away."""
    _end_all(execution_id)
    for folder in _scratch().glob(f"{_prefix(execution_id)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _scratch() -> Path:
    return _SCRATCH if _SCRATCH.is_dir() else Path(tempfile.gettempdir())


def _prefix(execution_id: str) -> str:
    return f"atelier-run-{execution_id}-"


def _end_of(runner: Any) -> str:
    with runner.stdout as output:
        return str(output.read()[-_OUTPUT_END:].strip())


def _prepare(execution: Execution, folder: Path) -> None:
    """Writes ansible-runner's inputs to files of mode 0600: as arguments, variables would be visible to other users."""
    environment = folder / "env"
    environment.mkdir(mode=0o700)
    (folder / "tmp").mkdir(mode=0o700)
    variables = {
        _MARK: execution.id,
        # ansible-playbook is in the same folder as this interpreter.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "ATELIER_PROGRESS": str(folder / "progress"),
        "ANSIBLE_CONFIG": str(execution.playbook.parent.parent / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "tmp"),
        "ANSIBLE_HOME": str(folder / "tmp"),
    }
    inputs = {"extravars": _as_data(execution.variables), "envvars": variables, "settings": {"pexpect_timeout": 5}}
    for name, content in inputs.items():
        descriptor = os.open(environment / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)


def _as_data(value: Any) -> Any:
    """Marks texts so that Ansible never evaluates them as templates: ``!unsafe`` of YAML in ansible-core's JSON
    form."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, Mapping):
        return {key: _as_data(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_as_data(inner) for inner in value]
    return value


class _Events:
    """Folds ansible-runner's events into the few facts that are needed."""

    def __init__(self, notify: Callable[[Note], None]) -> None:
        self._notify = notify
        self.results: dict[str, Mapping[str, Any]] = {}
        self.error: AtelierError | None = None

    def take(self, event: Mapping[str, Any]) -> bool:
        """ansible-runner's event handler. Returning False keeps the event from being written to disk."""
        data = event.get("event_data") or {}
        kind = event.get("event")
        if kind == "playbook_on_task_start":
            self._notify(Note(str(data.get("task"))))
        elif kind == "runner_on_ok":
            self.results[str(data.get("task_action"))] = data.get("res") or {}
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            result = data.get("res") or {}
            # In a loop, use the first failed item's message instead of Ansible's summary.
            failed = (item for item in result.get("results") or () if isinstance(item, Mapping) and item.get("failed"))
            self.error = error_from(next(failed, result))
        return False


def error_from(result: Mapping[str, Any]) -> AtelierError:
    """The error that a module put into its result: ``msg`` with its code, ``error_code`` and ``details``."""
    result = untagged(dict(result))
    details = dict(result.get("details") or {})
    field_name, remedy = details.pop("field", None), None
    details.pop("remedy", None)
    said = result.get("msg")
    message = as_message(said if isinstance(said, str) else str(said)) if said else Message("task_failed")
    if message.id == "sentences":
        message, remedy = (as_message(message.params[part]) for part in ("first", "then"))
    try:
        code = Code(str(result.get("error_code")))
    except ValueError:
        code = Code.RUN_FAILED
    return AtelierError(code, message, field=field_name, remedy=remedy, **{str(k): v for k, v in details.items()})


class _Watch(threading.Thread):
    """Follows a run from outside: passes its progress on, and ends its processes when time is up or it is canceled."""

    def __init__(
        self, execution: Execution, folder: Path, notify: Callable[[Note], None], canceled: threading.Event
    ) -> None:
        super().__init__(name=f"watch-{execution.id}", daemon=True)
        self._execution = execution
        self._progress = folder / "progress"
        self._notify = notify
        self._canceled = canceled
        self._stopped = threading.Event()
        self.expired = False

    def run(self) -> None:
        deadline = time.monotonic() + self._execution.deadline
        position = 0
        while not self._stopped.wait(_POLL_SECONDS):
            position = self._follow(position)
            self.expired = time.monotonic() > deadline
            if self.expired or self._canceled.is_set():
                _end_all(self._execution.id)
                return
        self._follow(position)

    def stop(self) -> None:
        self._stopped.set()
        if self.is_alive():
            self.join()

    def _follow(self, position: int) -> int:
        try:
            with self._progress.open("rb") as file:
                file.seek(position)
                text = file.read()
        except FileNotFoundError:
            return position
        # A line that is still being written is left for the next look.
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                step = untagged(json.loads(line))
                note = Note(step["step"], step["done"], step["total"])
            except (ValueError, KeyError):
                log.warning("not a step: %r", line[:200])
            else:
                self._notify(note)
        return position + len(whole)


def _end_all(execution_id: str) -> None:
    """Ends every process of the execution: asked first, then made to."""
    begin = time.monotonic()
    # Repeat: a process may have started another one meanwhile, and a killed one takes a moment to end.
    while _signal(execution_id, signal.SIGTERM if time.monotonic() < begin + _GRACE_SECONDS else signal.SIGKILL):
        if time.monotonic() > begin + 2 * _GRACE_SECONDS:
            log.error("processes of execution %s can't be ended: %s", execution_id, _processes(execution_id))
            return
        time.sleep(_POLL_SECONDS)


def _signal(execution_id: str, number: signal.Signals) -> bool:
    processes = _processes(execution_id)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return bool(processes)


def _processes(execution_id: str) -> list[psutil.Process]:
    """The processes with the execution's id in their environment. Zombies have none and are not included."""
    found = psutil.process_iter(["environ"])
    return [process for process in found if (process.info["environ"] or {}).get(_MARK) == execution_id]
