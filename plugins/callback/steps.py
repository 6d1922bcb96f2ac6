"""The output of a playbook for people: its steps, one line per task, and a sign of progress."""

from __future__ import annotations

DOCUMENTATION = r"""
name: steps
type: stdout
short_description: Calm, compact output with durations and live progress
description:
  - Plays are headings, with their number when the front door gives one; each task is one line with its result and,
    above half a second, the time it took. Skipped tasks are not shown.
  - A task of more than two seconds shows that it lives. On a terminal its line counts the seconds, elsewhere there is
    a line every ten seconds. What modules note in the file that E(ATELIER_PROGRESS) names is shown with it.
  - What a module says of its work in C(summary) stands below its line.
  - E(ATELIER_STEPS) as V(done/total) numbers the plays that follow.
  - E(ATELIER_DURATIONS) names a file with the seconds that each play took when it last did its work. From it the
    headings have a bar and the time that is left, as soon as M(platform_fingerprint) has told which plays are left out.
    Without the file the figures are those of a first run in docs/bench.md.
  - At the end a JSON object for programs is written to the file that E(ATELIER_RESULT) names, with C(successful),
    C(changed) (the number of changed tasks), C(result) (what Atelier's last module returned, or null) and C(error)
    (null, or C(task), C(message), C(code), C(details)).
extends_documentation_fragment: [default_callback, result_format_callback]
requirements: [set as stdout in configuration]
"""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ansible.module_utils
from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import CallbackBase

# Ansible finds a project's module_utils for modules only.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[2] / "module_utils"))
from ansible.module_utils.atelier.common.plain_text import plain

QUIET_SECONDS = 2.0
# A play of less was left out, or found nothing to do.
NOTHING_TO_DO = 1.0
# Seconds of a first run on two cores (docs/bench.md).
FIRST_RUN = {
    "Docker": 25.0,
    "Networks and firewall": 7.0,
    "Images": 167.0,
    "Egress": 15.0,
    "Git": 9.0,
    "Gateway": 13.0,
    "API": 11.0,
    "Provision the workshop": 6.0,
}
BAR_WIDTH = 20
TICK_SECONDS = {True: 0.5, False: 10.0}  # on a terminal; elsewhere
COLORS = {"ok": C.COLOR_OK, "changed": C.COLOR_CHANGED, "failed": C.COLOR_ERROR, "unreachable": C.COLOR_UNREACHABLE}
INDENT = " " * 11
MODULES = {path.stem for path in (Path(__file__).resolve().parents[2] / "library").glob("*.py")}
_HIDDEN = "The output is hidden, since it would show a secret."
# Of a module's result, what is no part of its answer.
_NO_ANSWER = {"invocation", "diff", "warnings", "deprecations", "exception", "failed"}


def seconds(value: float) -> str:
    """A duration for people: 0.8 s, 75 s is 1 min 15 s."""
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def result_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines for a failed task: its message, the error code, the details, the last output of a program."""
    if _is_secret(result):
        yield _HIDDEN
        return
    yield from str(result.get("msg", "failed")).strip().splitlines()
    if "error_code" in result:
        yield f"error_code: {result['error_code']}"
    for key, value in (result.get("details") or {}).items():
        if key not in ("remedy", "codes"):  # the remedy ends the message; codes are for programs
            yield f"{key}: {value}"
    for key in ("stdout", "stderr", "module_stdout", "module_stderr"):
        lines = str(result.get(key) or "").strip().splitlines()
        if lines:
            yield f"{key}:"
            yield from ("  " + line for line in lines[-20:])


def failed_items(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of the items that a looping task failed for; of another task its own."""
    return [item for item in result.get("results", []) if isinstance(item, dict) and item.get("failed")] or [result]


def answer_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a module, for a program."""
    return {key: value for key, value in result.items() if key not in _NO_ANSWER and not key.startswith("_ansible")}


def error_of(task: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Why a task failed, for a program."""
    found = failed_items(result)[0]
    if _is_secret(result) or _is_secret(found):
        return {"task": task, "message": _HIDDEN, "code": None, "details": {}}
    message, details = str(found.get("msg", "failed")).strip(), dict(found.get("details") or {})
    return {"task": task, "message": plain(message), "code": found.get("error_code"), "details": _plain_all(details)}


def _is_secret(result: Mapping[str, Any]) -> bool:
    return bool(result.get("_ansible_no_log")) or "censored" in result


def last_progress(text: str) -> str:
    """The newest complete line of the progress file in words, such as "seats ready 7/20"."""
    for line in reversed(text.splitlines()):
        try:
            note = json.loads(line)
            return f"{note['step']} {note['done']}/{note['total']}"
        except (ValueError, KeyError, TypeError):
            continue
    return ""


class Durations:
    """The seconds that each play of a run took when it last did its work, kept in a file between runs. What it takes
    without work is not noted. ``first``: there are no figures of this machine, so they are those of FIRST_RUN."""

    def __init__(self, file: str | None) -> None:
        self._file = Path(file or os.devnull)
        self._seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            noted = json.loads(self._file.read_text(encoding="utf-8"))
            self._seconds = {name: float(took) for name, took in noted.items()}
        self.first = bool(file) and not self._seconds
        if self.first:
            self._seconds = dict(FIRST_RUN)

    def bar(self, play: str, left_out: Collection[str] | None) -> str:
        """The progress of the run when the play begins and the time that is left, without the plays that are left out
        (None: not known yet), for a heading; empty if nothing is known of it."""
        took = {name: 0.0 if name in (left_out or ()) else known for name, known in self._seconds.items()}
        left = sum(list(took.values())[list(took).index(play) :]) if play in took else 0.0
        if not left or (left_out is None and not self.first):
            return ""
        done = round(BAR_WIDTH * (1 - left / sum(took.values())))
        about = f"about {seconds(round(left)).replace('.0 s', ' s')} left{' (on two cores)' if self.first else ''}"
        return f"  {'#' * done}{'.' * (BAR_WIDTH - done)} {about}"

    def note(self, plays: Mapping[str, float]) -> None:
        """After a successful run, with its plays in their order."""
        took = {name: took if took >= NOTHING_TO_DO else self._seconds.get(name, took) for name, took in plays.items()}
        with contextlib.suppress(OSError):  # a convenience only
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(took), encoding="utf-8")


def plays_left_out(answer: Mapping[str, Any], plays: Iterable[str]) -> set[str]:
    """The playbook's plays that will not run, by the answer of platform_fingerprint, which names a part of a play as
    "play (part)"."""
    if answer["unchanged"]:
        return set(plays)
    parts = {part["name"]: part["name"].partition(" (")[0] for part in answer["look_at"]["plays"]}
    return set(parts.values()) - {play for part, play in parts.items() if part not in answer["plays_unchanged"]}


class _Play(NamedTuple):
    name: str
    heading: str
    took: float


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "steps"

    def __init__(self) -> None:
        super().__init__()
        done, _, total = os.environ.get("ATELIER_STEPS", "").partition("/")
        self._step, self._total = int(done or 0), total
        self._playbooks = 0
        self._started = time.monotonic()
        self._plays: list[_Play] = []  # those that ended
        self._current: tuple[str, str, float] | None = None  # name, heading, start
        self._durations = Durations(os.environ.get("ATELIER_DURATIONS"))
        self._plays_of_playbook: list[str] = []
        self._left_out: set[str] | None = None  # not known yet
        self._role: str | None = None
        self._task_name, self._task_started = "", time.monotonic()
        self._running = False
        self._changed = 0
        self._result_file = os.environ.get("ATELIER_RESULT")
        self._answer: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._terminal = sys.stdout.isatty()
        self._progress = Path(os.environ.get("ATELIER_PROGRESS") or os.devnull)
        self._progress_offset = 0
        # Held while anything is written: the heartbeat has a separate thread.
        self._lock = threading.Lock()
        self._stop = threading.Event()

    # --- Headings ---------------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbooks += 1
        self._plays_of_playbook = [play.get_name().strip() for play in playbook.get_plays()]
        if self._playbooks == 1:
            threading.Thread(target=self._heartbeat, daemon=True).start()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._end_play()
        self._step += 1
        name = play.get_name().strip()
        heading = f"[{self._step}/{self._total}] {name}" if self._total else name
        self._current = (name, heading, time.monotonic())
        # A play of one role needs no second heading.
        self._role = play.get_roles()[0].get_name() if len(play.get_roles()) == 1 else None
        self._show(heading + self._durations.bar(name, self._left_out), C.COLOR_HIGHLIGHT)

    def _end_play(self) -> None:
        self._running = False
        if self._current:
            name, heading, began = self._current
            self._current = None
            self._plays.append(_Play(name, heading, time.monotonic() - began))
            self._show(f"{heading} ... {seconds(self._plays[-1].took)}")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool = False) -> None:
        role = task._role.get_name() if task._role else None
        if role and role != self._role:
            self._show(f"  role {role}", C.COLOR_HIGHLIGHT)
        self._role = role or self._role
        self._task_name, self._task_started = task.get_name().rpartition(" : ")[2], time.monotonic()
        self._progress_offset = self._progress_size()
        self._running = not isinstance(task, TaskInclude)

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    # --- Results ----------------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result: Any) -> None:
        if isinstance(result.task, TaskInclude):
            return
        changed = bool(result.result.get("changed"))
        self._changed += changed
        if result.task.action in MODULES:
            self._answer = None if _is_secret(result.result) else answer_of(result.result)
        if result.task.action == "platform_fingerprint" and self._left_out is None:  # the first one compares
            self._left_out = plays_left_out(result.result, self._plays_of_playbook)
        if result.task.action == "ansible.builtin.validate_argument_spec":
            self._running = False  # of the role's own contract, not of the machine
        elif result.task.action in C._ACTION_DEBUG and "censored" not in result.result:
            self._debug(result.result)
        else:
            self._result(result, "changed" if changed else "ok")
            if "summary" in result.result:
                self._show(INDENT + str(result.result["summary"]))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "failed", " (ignored)" if ignore_errors else "")
        if not ignore_errors:
            self._error = error_of(self._task_name, result.result)
        for item in failed_items(result.result):
            label = item.get("_ansible_item_label")
            for line in ([f"{label}:"] if label and "censored" not in item else []) + list(result_lines(item)):
                self._show(INDENT + line, C.COLOR_ERROR)
        if self._display.verbosity and not result.result.get("_ansible_no_log"):
            self._handle_warnings_and_exception(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable")
        self._error = error_of(self._task_name, result.result)
        self._show(INDENT + str(result.result.get("msg", "")), C.COLOR_UNREACHABLE)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._running = False

    def v2_on_file_diff(self, result: Any) -> None:
        for item in result.result.get("results", [result.result]) if result.task.loop else [result.result]:
            if item.get("changed") and item.get("diff") and not item.get("_ansible_no_log"):
                # Ansible's own colors are in it already, so it is not shown as other texts are.
                self._write(self._get_diff(_plain_all(item["diff"])).rstrip("\n"))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        # A failure that a rescue dealt with is not counted.
        hosts = [stats.summarize(host) for host in stats.processed]
        failed = any(host["failures"] or host["unreachable"] for host in hosts)
        self._end_play()
        if not failed and self._playbooks < len(context.CLIARGS.get("args", ())):
            return  # another playbook follows
        self._stop.set()
        if not failed:
            self._durations.note({play.name: play.took for play in self._plays})
        if len(self._plays) > 1:
            width = max(len(play.heading) for play in self._plays)
            self._show("")
            for play in self._plays:
                self._show(f"{play.heading:{width}}  {seconds(play.took):>14}")
        words = f"{self._changed} changed, {seconds(time.monotonic() - self._started)}"
        self._show(f"Failed: {words}" if failed else f"Done: {words}", C.COLOR_ERROR if failed else C.COLOR_OK)
        if self._result_file:
            told = {"successful": not failed, "changed": self._changed, "result": self._answer}
            told["error"] = self._error if failed else None  # a rescue may have dealt with it
            Path(self._result_file).write_text(json.dumps(told, ensure_ascii=False, default=str), encoding="utf-8")

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._show("No host of the inventory matches this play.", C.COLOR_ERROR)

    def _result(self, result: Any, word: str, suffix: str = "") -> None:
        took = time.monotonic() - self._task_started
        self._running = False
        host = result.host.get_name()
        name = self._task_name if host == "localhost" else f"{self._task_name} [{host}]"
        self._show(f"  {word:8} {name}{suffix}" + (f"  {seconds(took)}" if took > 0.5 else ""), COLORS[word])
        for warning in result.warnings:
            self._show(f"{INDENT}warning: {warning.event.msg.strip()}", C.COLOR_WARN)

    def _debug(self, result: Mapping[str, Any]) -> None:
        """A message as it is; a list line by line; a variable as text."""
        self._running = False
        hidden = {"warnings", "deprecations", *self._hide_in_debug}
        for value in (result[key] for key in result if not key.startswith("_ansible") and key not in hidden):
            for line in value if isinstance(value, list) else str(value).splitlines():
                self._show(str(line))

    # --- Writing ----------------------------------------------------------------------------------------------------

    def _show(self, text: str, color: str | None = None) -> None:
        """A seat's words may be in any text: they must not steer the terminal."""
        self._write(plain(text), color)

    def _write(self, text: str, color: str | None = None) -> None:
        with self._lock:
            if self._terminal:
                sys.stdout.write("\r\x1b[K")  # whatever the heartbeat left on the line
            self._display.display(text, color=color)

    def _heartbeat(self) -> None:
        last = 0.0
        while not self._stop.wait(TICK_SECONDS[True]):
            now, began = time.monotonic(), self._task_started
            if (
                not self._running
                or now - began < QUIET_SECONDS
                or now - max(last, began) < TICK_SECONDS[self._terminal]
            ):
                continue
            last = now
            words = plain(f"  ...      {self._task_name}  {seconds(now - began)}  {self._progress_note()}".rstrip())
            if not self._terminal:
                self._show(words)
                continue
            with self._lock:
                if self._running:
                    sys.stdout.write(f"\r\x1b[K{words[: shutil.get_terminal_size().columns - 1]}")
                    sys.stdout.flush()

    def _progress_size(self) -> int:
        try:
            return self._progress.stat().st_size
        except OSError:
            return 0

    def _progress_note(self) -> str:
        """The progress that a module has recorded since the task began."""
        try:
            with self._progress.open(encoding="utf-8") as file:
                file.seek(self._progress_offset)
                return last_progress(file.read())
        except OSError:
            return ""


def _plain_all(value: Any) -> Any:
    """A result's value with every text in it plain."""
    if isinstance(value, Mapping):
        return {key: _plain_all(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain_all(each) for each in value]
    return plain(value) if isinstance(value, str) else value
