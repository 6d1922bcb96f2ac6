"""Messages as codes: how they are stored and sent, and those of other versions."""

from __future__ import annotations

import ast
import copy
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, id_of, restored, stored, tagged, untagged
from atelier.common.models import Status
from atelier.containers.container import observed_status
from atelier.database.job_store import Jobs, JobState
from atelier.database.migrations import _MIGRATIONS
from atelier.database.workspace_store import WorkspaceStore
from atelier.workshop.manifest import Entry, read_manifest, write_manifest
from support import NETWORKS, ROOMY, order

from api.runner.adapter import error_from

ROOT = Path(__file__).parents[2]
OTHER = "Another version of Atelier noted: "
WHY = Message("on_main", name="Base 1", said=Message("git.not_installed"))


def test_a_message_is_its_english_text() -> None:
    assert WHY == "'Base 1' stays on main, without its own branch: The git server is not part of this installation."
    assert copy.deepcopy(WHY).data() == WHY.data()
    # Words of a seat may be in it.
    assert "\x1b" not in Message("not_pushed", said="\x1b[31mred")
    with pytest.raises(KeyError):
        Message("no_such_message")
    with pytest.raises(KeyError):
        Message("not_pushed")


def test_data_has_codes_beside_texts() -> None:
    data = tagged({"error": WHY, "warnings": ["old", WHY], "seats": [{"error": None}, {"error": WHY}], "n": 1})
    text = json.loads(json.dumps(data))
    assert text["error"] == str(WHY)
    assert text["codes"]["error"] == {
        "id": "on_main",
        "params": {"name": "Base 1", "said": {"id": "git.not_installed", "params": {}}},
    }
    back = untagged(text)
    assert [id_of(each) for each in (back["error"], *back["warnings"], back["seats"][1]["error"])] == [
        *("on_main", None, "on_main", "on_main")
    ]
    assert "codes" not in back and back["seats"][0] == {"error": None}
    # Data that only looks like it.
    assert untagged({"codes": [1], "error": "x"}) == {"codes": [1], "error": "x"}


@pytest.mark.parametrize(
    "code",
    [
        {"id": "of_a_newer_version", "params": {}},
        {"id": "not_pushed", "params": {}},
        {"id": "not_pushed"},
        "x",
        None,
        3,
    ],
)
def test_a_code_that_is_not_known_leaves_the_text(code: object) -> None:
    assert untagged({"error": "As it was put.", "codes": {"error": code}}) == {"error": "As it was put."}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"id": "of_a_newer_version", "params": {}}, f"{OTHER}of a newer version"),
        ({"id": "not_pushed", "params": {}}, f"{OTHER}not pushed"),
        (
            {"id": "git.newer", "params": {"name": "Base 1", "said": {"id": "git.old", "params": {"port": 80}}}},
            f"{OTHER}git newer (name: Base 1; said: {OTHER}git old (port: 80))",
        ),
        ({"id": "not_pushed"}, '{"id": "not_pushed"}'),
        ({"id": "x", "params": []}, '{"id": "x", "params": []}'),
    ],
)
def test_a_row_whose_code_is_not_known_shows_its_words(row: object, shown: str) -> None:
    """A newer version wrote such a row before a downgrade, or an older one before its code was given up."""
    assert restored(json.dumps(row)) == shown


def test_a_known_code_stays_around_one_that_is_not_known() -> None:
    why = {"id": "gateway.routes_unusable", "params": {"file": "/routes", "why": "No space left on device"}}
    error = restored(json.dumps({"id": "release_failed", "params": {"why": why}}))
    assert id_of(error) == "release_failed"
    told = "gateway routes unusable (file: /routes; why: No space left on device)"
    assert error == f"Its release failed: {OTHER}{told}"


def test_a_remedy_that_is_not_known_is_left_out() -> None:
    held = {"id": "held.template", "params": {"template": "node", "seconds": 30.0}}
    then = {"id": "held.template.remedy", "params": held["params"]}
    error = restored(json.dumps({"id": "sentences", "params": {"first": held, "then": then}}))
    assert id_of(error) == "sentences"
    assert error is not None and error.strip() == Message("held.template", template="node", seconds=30.0)


@pytest.mark.parametrize("text", [None, "", "The IDE did not answer.", '{"id": 1}', '{"id":', "{}"])
def test_a_sentence_of_an_older_version_stays_as_it_is(text: str | None) -> None:
    assert restored(text) == text
    assert id_of(restored(text)) is None


def test_an_error_keeps_its_code_on_the_way_from_a_module() -> None:
    held = Message("held.folder", folder="/srv", seconds=30.0)
    error = AtelierError(Code.WORKSPACE_BUSY, held, remedy=Message("held_by_another"), field="folder")
    assert (id_of(error.message), id_of(error.sentence)) == ("held.folder", "sentences")
    told = "Another run has been collecting into /srv for 30 seconds. Wait for it to end, then run this again."
    assert str(error) == told
    result = tagged({"msg": error.sentence, "error_code": str(error.code), "details": error.details})
    again = error_from(json.loads(json.dumps(result)))
    assert (again.code, again.message, again.details) == (error.code, error.message, error.details)
    assert (id_of(again.message), id_of(again.sentence)) == ("held.folder", "sentences")
    # A module that is not ours has sentences only: they are quoted.
    plain = error_from({"msg": "no such file"})
    assert (plain.code, plain.message, id_of(plain.sentence)) == (
        Code.RUN_FAILED,
        "The task failed: no such file",
        "task_said",
    )


def test_rows_and_jobs_hold_codes(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        jobs = Jobs(store)
        (row,) = store.reserve([order("base")])
        store.update(row.id, error=WHY, git_problem=WHY)
        found = store.get(id=row.id)
        assert (id_of(found.error), id_of(found.git_problem), found.error) == ("on_main", "on_main", WHY)
        job = jobs.create("stop", [row.id], {}, "somebody")
        jobs.finish(job.id, JobState.FAILED, WHY, [{"projectId": row.id, "error": WHY, "warnings": [WHY]}])
        ended = jobs.find(job.id)
        (seat,) = untagged(list(ended.seats))
        assert [id_of(each) for each in (ended.error, seat["error"], *seat["warnings"])] == ["on_main"] * 3
        (event,) = jobs.events(job.id)
        assert id_of(untagged(dict(event.data))["error"]) == "on_main"
    with sqlite3.connect(tmp_path / "registry.sqlite3") as db:
        (text,) = db.execute("SELECT error FROM workspaces").fetchone()
        assert json.loads(text) == WHY.data()
        assert stored(WHY) == text


def test_sentences_that_something_depends_on_get_their_codes(tmp_path: Path) -> None:
    """Converts the sentences that a version without codes wrote."""
    sentences = {
        "release": ("Its release failed: Docker could not start it.", None),
        "ends": ("Its container ends again and again; its log says why.", None),
        "access": (None, "'access' still pushes with the token of its former participant: no answer"),
        "other": ("The IDE of 'other' did not answer within 60 seconds.", "No repository was made for 'other': no"),
    }
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        ids = {row.name: row.id for row in store.reserve([order(name) for name in sentences])}
    with sqlite3.connect(tmp_path / "registry.sqlite3") as db:
        db.execute("DROP TRIGGER bases")
        for column in ("node", "node_labels", "stop_reason", "unreleased", "was_cloned"):
            db.execute(f"ALTER TABLE workspaces DROP COLUMN {column}")
        db.execute("DROP TABLE begun_elsewhere")
        db.execute(f"PRAGMA user_version = {_before_codes()}")
        for name, (error, problem) in sentences.items():
            db.execute(
                "UPDATE workspaces SET status = 'error', error = ?, git_problem = ? WHERE name = ?",
                (error, problem, name),
            )
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        rows = {name: store.get(id=id) for name, id in ids.items()}
    sentences["release"] = (None, None)
    sentences["ends"] = ("Its container keeps crashing; see its log.", None)
    sentences["access"] = (None, "'access' still has the git token of its former participant: no answer")
    assert {name: (row.error, row.git_problem) for name, row in rows.items()} == sentences
    assert rows["release"].unreleased == "Docker could not start it."
    assert (id_of(rows["ends"].error), id_of(rows["access"].git_problem)) == ("container_ends", "keeps_access")
    assert (id_of(rows["other"].error), id_of(rows["other"].git_problem)) == (None, None)
    assert observed_status(rows["other"], None) == (Status.ERROR, sentences["other"][0])


def _before_codes() -> int:
    return next(number for number, statements in enumerate(_MIGRATIONS) if "release_failed" in statements[0])


def test_a_manifest_holds_codes(tmp_path: Path) -> None:
    entry = Entry("a" * 12, "Base 1", "stopped", note=Message("at_rest"), error=WHY)
    write_manifest(tmp_path, "test", "now", [entry])
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert (
        document["seats"][0]["note"]
        == "Its container is not running, so nothing was committed; the archive has all files."
    )
    found = read_manifest(tmp_path)[entry.id]
    assert found == entry
    assert (id_of(found.note), id_of(found.error)) == ("at_rest", "on_main")
    del document["seats"][0]["codes"]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    found = read_manifest(tmp_path)[entry.id]
    assert (found.note, id_of(found.note)) == (entry.note, None)


# Calls that say something to people, and exceptions that a message may quote as its cause.
_SAYS = re.compile(
    r"AtelierError|Message|Drift|NotADomain|Limiter|Saved|HTTPException|HttpResponse|error_body|warn|broken|_silent|_failed"
    r"|fail_json|[A-Z]\w*Error"
)
_PROSE = re.compile(r"[A-Za-z']{2,} [a-z']")
# Start-up errors, which an operator reads in a log; bugs; what its own module catches.
_UNSEEN_FILES = {"api/settings.py", "api/web/i18n.py"}
_UNSEEN_ERRORS = {"AssertionError", "ConnectionError", "KeyError", "TimeoutError"}
_UNSEEN_TEXTS = {"the checksum differs", "a record without length", "the mode ", " has no proxy", "not changeable: "}
_UNSEEN_TEXTS |= {" is no absolute path"}


def test_a_sentence_without_a_code_is_refused() -> None:
    """Errors, warnings and causes whose English text is where they are raised."""
    found = []
    for file in (file for folder in ("module_utils", "api", "library") for file in (ROOT / folder).rglob("*.py")):
        place = str(file.relative_to(ROOT))
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func).rpartition(".")[2]
            if _SAYS.fullmatch(name) and name not in _UNSEEN_ERRORS and place not in _UNSEEN_FILES:
                found += [f"{place}:{call.lineno}: {text}" for text in _prose_in(call)]
    assert not found


def _prose_in(call: ast.Call) -> Iterator[str]:
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _PROSE.search(text) and text not in _UNSEEN_TEXTS:
                yield text
