"""The steps callback: the shown and the hidden parts of results."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("steps", ROOT / "plugins" / "callback" / "steps.py")
assert _SPEC is not None
assert _SPEC.loader is not None
steps = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(steps)


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ATELIER_STEPS", "1/3")
    monkeypatch.delenv("ATELIER_PROGRESS", raising=False)
    return steps.CallbackModule()


def result_of(result: dict[str, Any], action: str = "ansible.builtin.copy") -> Any:
    return SimpleNamespace(
        result=result,
        warnings=[],
        task=SimpleNamespace(action=action, loop=None),
        host=SimpleNamespace(get_name=lambda: "localhost"),
    )


def play(name: str) -> Any:
    return SimpleNamespace(get_name=lambda: name, get_roles=list)


def task(name: str) -> Any:
    return SimpleNamespace(get_name=lambda: name, _role=None)


@pytest.mark.parametrize(("value", "words"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (59.9, "59.9 s"), (75, "1 min 15 s")])
def test_durations(value: float, words: str) -> None:
    assert steps.seconds(value) == words


def test_the_newest_complete_note_is_shown() -> None:
    notes = [json.dumps({"step": "seats ready", "done": done, "total": 20}) for done in (6, 7)]
    assert steps.last_progress("\n".join([*notes, '{"step": "seats re'])) == "seats ready 7/20"
    assert steps.last_progress("") == ""


def test_a_play_has_its_number_and_its_duration(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Docker"))
    callback.v2_playbook_on_play_start(play("Gateway"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["[2/3] Docker", "[2/3] Docker ... 0.0 s", "[3/3] Gateway"]


def compared(**answer: Any) -> Any:
    """The module's answer for the plays Docker, Images, Egress (two proxies) and Git."""
    names = ["Docker", "Images", "Egress (squid)", "Egress (recorder)", "Git"]
    plays = [{"name": name} for name in names]
    return result_of({"changed": False, "look_at": {"plays": plays}, **answer}, "platform_fingerprint")


def headings(lines: str) -> list[str]:
    return [line for line in lines.splitlines() if " ... " not in line and not line.startswith(" ")]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Returns the callback after the first play of `up`, with the figures of earlier runs and what was compared."""
    noted, made = tmp_path / "home" / "durations.json", []
    monkeypatch.setenv("ATELIER_DURATIONS", str(noted))

    def start(figures: dict[str, float], answer: Any) -> Any:
        if figures:
            steps.Durations(str(noted)).note(figures)
        callback = steps.CallbackModule()
        made.append(callback)
        callback.v2_playbook_on_start(
            SimpleNamespace(get_plays=lambda: [play(name) for name in ("Docker", "Images", "Egress", "Git", "API")])
        )
        callback.v2_playbook_on_play_start(play("Docker"))
        callback.v2_playbook_on_task_start(task("Check for changes"), False)
        callback.v2_runner_on_ok(answer)
        return callback

    yield start
    for callback in made:
        callback._stop.set()


FIGURES = {"Docker": 20.0, "Images": 300.0, "Egress": 10.0, "Git": 5.0, "API": 65.0, "Provision the workshop": 8.0}


def test_a_later_run_says_how_far_it_is(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(FIGURES, compared(unchanged=False, plays_unchanged=[]))
    # A play that was left out keeps what it took before.
    callback = run(FIGURES | {"Docker": 0.1}, compared(unchanged=False, plays_unchanged=[]))
    capsys.readouterr()
    for name in ("Images", "API", "Another"):
        callback.v2_playbook_on_play_start(play(name))
    assert headings(capsys.readouterr().out) == [
        "Images  #................... about 6 min 28 s left",
        "API  ################.... about 1 min 13 s left",
        "Another",
    ]


def test_a_play_that_is_left_out_takes_no_time(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    unchanged = ["Docker", "Images", "Egress (squid)", "Egress (recorder)"]
    callback = run(FIGURES, compared(unchanged=False, plays_unchanged=unchanged))
    for name in ("Images", "Egress", "Git", "API"):
        callback.v2_playbook_on_play_start(play(name))
    assert headings(capsys.readouterr().out) == [
        "Docker",  # not known yet
        "Images  .................... about 1 min 18 s left",
        "Egress  .................... about 1 min 18 s left",
        "Git  .................... about 1 min 18 s left",
        "API  #................... about 1 min 13 s left",
    ]


def test_a_play_is_left_out_with_all_its_parts_only(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    unchanged = ["Docker", "Images", "Egress (squid)", "Git"]
    run(FIGURES, compared(unchanged=False, plays_unchanged=unchanged)).v2_playbook_on_play_start(play("Egress"))
    assert headings(capsys.readouterr().out)[-1] == "Egress  .................... about 1 min 23 s left"


def test_a_run_with_nothing_to_do_takes_no_minutes(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(FIGURES, compared(unchanged=True)).v2_playbook_on_play_start(play("Images"))
    assert headings(capsys.readouterr().out) == ["Docker", "Images  .................... about 8 s left"]


def test_a_first_run_has_the_figures_of_two_cores(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    run({}, compared(unchanged=False, plays_unchanged=[])).v2_playbook_on_play_start(play("API"))
    assert headings(capsys.readouterr().out) == [
        "Docker  .................... about 4 min 13 s left (on two cores)",
        "API  ###################. about 17 s left (on two cores)",
    ]
    books = (yaml.safe_load((ROOT / "playbooks" / name).read_text()) for name in ("site.yml", "workshop.yml"))
    assert [book["name"] for playbook in books for book in playbook] == list(steps.FIRST_RUN)


def test_without_a_file_nothing_is_known(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Docker"))
    assert headings(capsys.readouterr().out) == ["[2/3] Docker"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"Docker": "x"}'])
def test_durations_that_cannot_be_read_are_those_of_a_first_run(tmp_path: Path, text: str) -> None:
    file = tmp_path / "durations.json"
    file.write_text(text)
    assert steps.Durations(str(file)).first


def test_a_task_is_one_line(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_task_start(task("role : Write it"), False)
    callback.v2_runner_on_ok(result_of({"changed": True, "invocation": {"module_args": {"content": "canary"}}}))
    callback.v2_playbook_on_task_start(task("Look"), False)
    callback.v2_runner_on_skipped(result_of({"skipped": True}))
    assert capsys.readouterr().out == "  changed  Write it\n"


def test_a_summary_stands_below_its_line(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_task_start(task("Create the workspace"), False)
    callback.v2_runner_on_ok(result_of({"changed": True, "summary": "base is running."}))
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "changed  Create the workspace",
        "base is running.",
    ]


def test_a_message_is_shown_line_by_line(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_task_start(task("Show"), False)
    callback.v2_runner_on_ok(result_of({"msg": ["SEAT  URL", "1     http"], "changed": False}, "ansible.builtin.debug"))
    assert capsys.readouterr().out == "SEAT  URL\n1     http\n"


def test_a_failure_says_what_is_wrong(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_task_start(task("Check the port"), False)
    details = {"field": "atelier_base_port", "remedy": "Stop it.", "codes": {"remedy": {"id": "stop.remedy"}}}
    callback.v2_runner_on_failed(
        result_of({"msg": "Port 80 is taken. Stop it.", "error_code": "PORT_IN_USE", "details": details})
    )
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "failed   Check the port",
        "Port 80 is taken. Stop it.",
        "error_code: PORT_IN_USE",
        "field: atelier_base_port",
    ]


class Stats:
    def __init__(self, failures: int = 0) -> None:
        self.processed = {"localhost": 1}
        self._failures = failures

    def summarize(self, _: str) -> dict[str, int]:
        return {"failures": self._failures, "unreachable": 0}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs the tasks of a playbook, given as name, action, result, and whether it failed; returns what programs get."""
    monkeypatch.setenv("ATELIER_RESULT", str(tmp_path / "result.json"))
    callback = steps.CallbackModule()

    def run(*tasks: tuple[str, str, dict[str, Any], bool], failures: int = 0) -> Any:
        for name, action, result, failed in tasks:
            callback.v2_playbook_on_task_start(task(name), False)
            (callback.v2_runner_on_failed if failed else callback.v2_runner_on_ok)(result_of(result, action))
        callback.v2_playbook_on_stats(Stats(failures))
        return json.loads((tmp_path / "result.json").read_text())

    yield run
    callback._stop.set()


def test_programs_get_what_the_last_module_answered(told: Callable[..., Any]) -> None:
    answer = {"changed": True, "workspace": {"name": "Base"}, "invocation": {"module_args": {"password": "canary"}}}
    debug = {"msg": "words", "changed": False}
    found = told(("Create it", "workspace", answer, False), ("Show it", "ansible.builtin.debug", debug, False))
    assert found == {
        "successful": True,
        "changed": 1,
        "result": {"changed": True, "workspace": {"name": "Base"}},
        "error": None,
    }


def test_programs_get_the_error(told: Callable[..., Any]) -> None:
    failure = {"msg": "Gone.\x1b[2J", "error_code": "PROJECT_NOT_FOUND", "details": {"field": "name"}}
    found = told(("Stop it", "workspace", failure, True), failures=1)
    assert (found["successful"], found["result"]) == (False, None)
    assert found["error"]["task"] == "Stop it"
    assert (found["error"]["code"], found["error"]["details"]) == ("PROJECT_NOT_FOUND", {"field": "name"})
    assert "\x1b" not in found["error"]["message"]


@pytest.mark.parametrize("mark", ["_ansible_no_log", "censored"])
def test_programs_get_no_secret(told: Callable[..., Any], mark: str) -> None:
    found = told(
        ("Make it", "workspace", {"changed": True, "password": "canary", mark: True}, False),
        ("Set it", "workspace", {"msg": "canary", mark: True}, True),
        failures=1,
    )
    assert "canary" not in json.dumps(found)
    assert "hidden" in found["error"]["message"]


@pytest.mark.parametrize("mark", ["_ansible_no_log", "censored"])
def test_a_secret_result_stays_hidden(callback: Any, capsys: pytest.CaptureFixture[str], mark: str) -> None:
    callback.v2_playbook_on_task_start(task("Set the password"), False)
    callback.v2_runner_on_failed(result_of({"msg": "canary", "stderr": "canary", mark: True}))
    output = capsys.readouterr().out
    assert "canary" not in output
    assert "hidden" in output


def test_a_diff_of_a_secret_stays_hidden(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    diff = {"before": "", "after": "canary\n"}
    callback.v2_on_file_diff(result_of({"changed": True, "diff": diff, "_ansible_no_log": True}))
    assert capsys.readouterr().out == ""
    callback.v2_on_file_diff(result_of({"changed": True, "diff": diff}))
    assert "+canary" in capsys.readouterr().out


def test_the_words_of_a_seat_do_not_steer_the_terminal(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    unsafe = "\x1b]0;x\x07\x1b[2J\x9b5m\u202e"
    callback.v2_playbook_on_task_start(task("Collect"), False)
    callback.v2_runner_on_failed(result_of({"msg": unsafe, "details": {"note": unsafe}, "stdout": unsafe}))
    callback.v2_runner_on_ok(result_of({"summary": unsafe, "changed": False}))
    callback.v2_runner_on_ok(result_of({"msg": [unsafe], "changed": False}, "ansible.builtin.debug"))
    callback.v2_on_file_diff(
        result_of({"changed": True, "diff": [{"before": unsafe, "after": "", "after_header": unsafe}]})
    )
    output = capsys.readouterr().out
    assert output.count("\ufffd") >= 25
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(output)


def test_a_handler_has_a_line_of_its_own(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Ansible says of a task's condition, but of no handler's."""
    callback.v2_playbook_on_task_start(task("Change it"), False)
    callback.v2_playbook_on_handler_task_start(task("Restart it"))
    callback.v2_runner_on_ok(result_of({"changed": True}))
    assert capsys.readouterr().out.splitlines() == ["  changed  Restart it"]
