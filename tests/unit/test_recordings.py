"""The core's readers of the recorder's files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import ProxyMode
from atelier.egress.categories import organisation, read_categories
from atelier.recordings.folders import Recorded
from atelier.recordings.report import check_recorded, report
from atelier.recordings.store import (
    all_conversations,
    conversations,
    count_conversations,
    delete_conversation,
    delete_conversations,
    domains,
    remove_recordings,
)
from support import refused, row

from api.core.errors import error_response

ID = "0123456789ab"
SEEN = {"count": 2, "first_seen": "2026-02-14T10:00:00.000Z", "last_seen": "2026-02-14T11:00:00.000Z"}


def write(state: Path, timestamp: str, model: str = "gpt", **more: Any) -> str:
    folder = state / "recordings" / ID / "conversations"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"timestamp": timestamp, "model": model, "parsed_request": {"model": model}, **more}
    (folder / f"{timestamp.replace(':', '-')}.json").write_text(json.dumps(record))
    return timestamp


@pytest.fixture
def times(tmp_path: Path) -> list[str]:
    """Three conversations of two models, oldest first, among files that are something else."""
    made = [
        write(tmp_path, "2026-02-14T10:05:00.123Z"),
        write(tmp_path, "2026-02-14T23:59:59.999Z", "claude"),
        write(tmp_path, "2026-02-15T00:00:00.000Z"),
    ]
    folder = tmp_path / "recordings" / ID / "conversations"
    (folder / ".new-2026-02-15T00-00-01.000Z.json").write_text("{}")
    (folder / "notes.txt").write_text("hello")
    (folder / "2026-02-42T00-00-00.000Z.json").write_text("{}")
    return made


def listed(state: Path, **filters: Any) -> list[str]:
    return [found["timestamp"] for found in conversations(Recorded.here(state, ID), **filters).conversations]


def test_newest_first_in_pages(tmp_path: Path, times: list[str]) -> None:
    assert listed(tmp_path) == times[::-1]
    assert listed(tmp_path, limit=1, offset=1) == [times[1]]
    assert conversations(Recorded.here(tmp_path, ID), limit=1).total == 3
    assert count_conversations(Recorded.here(tmp_path, ID)) == 3
    assert [found["timestamp"] for found in all_conversations(Recorded.here(tmp_path, ID))] == times


def test_filters(tmp_path: Path, times: list[str]) -> None:
    assert listed(tmp_path, model="claude") == [times[1]]
    assert conversations(Recorded.here(tmp_path, ID), model="gpt", limit=1).total == 2
    assert listed(tmp_path, date_from="2026-02-15") == [times[2]]
    assert listed(tmp_path, date_to="2026-02-14") == [times[1], times[0]]
    assert listed(tmp_path, date_from="2026-02-14T11:05:00.123+01:00", date_to="2026-02-14T12:00") == [times[0]]


def test_a_workspace_that_nothing_was_recorded_of(tmp_path: Path) -> None:
    assert conversations(Recorded.here(tmp_path, ID)).total == 0
    assert domains(Recorded.here(tmp_path, ID)) == {}
    assert delete_conversations(Recorded.here(tmp_path, ID)) == 0
    assert remove_recordings(Recorded.here(tmp_path, ID)) is False


def test_broken_and_foreign_files_are_passed_over(tmp_path: Path, times: list[str]) -> None:
    folder = tmp_path / "recordings" / ID
    (folder / "conversations" / "2026-02-14T10-05-00.123Z.json").write_text('{"timestamp": "20')
    assert listed(tmp_path) == [times[2], times[1]]
    assert listed(tmp_path, model="none") == []
    for content in ("{broken", "[]", '{"a.example": 3, "b.example": {"count": "x"}}', "\x00"):
        (folder / "domains.json").write_text(content)
        assert domains(Recorded.here(tmp_path, ID)) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("limit", 0), ("limit", 10_001), ("offset", -1), ("date_from", "yesterday"), ("date_to", "2026-13-01")),
        ("date_from", "../../etc"),
        *(("date_from", "0001-01-01T00:00:00+14:00"), ("date_to", "9999-12-31T23:59:59-14:00")),
    ],
)
def test_filters_that_are_none(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(AtelierError) as error:
        conversations(Recorded.here(tmp_path, ID), **{field: value})
    refused(error, Code.VALIDATION_ERROR, field)


@pytest.mark.parametrize(("field", "parameter"), [("date_from", "dateFrom"), ("date_to", "dateTo")])
def test_the_api_names_a_bad_date_as_its_caller_did(tmp_path: Path, field: str, parameter: str) -> None:
    with pytest.raises(AtelierError) as error:
        conversations(Recorded.here(tmp_path, ID), **{field: "yesterday"})  # type: ignore[arg-type]
    answer = error_response(error.value)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["code"]) == (400, "VALIDATION_ERROR")
    assert "yesterday" in body["details"][parameter] and field not in str(body)


@pytest.mark.parametrize(
    "timestamp",
    [
        *("", "..", "../../../etc/passwd", "2026-02-14", "2026-02-14T10-05-00.123Z", "2026-02-14T10:05:00.123Z.json"),
        *("2026-02-14T10:05:00.123Z\n", "2026-02-32T10:05:00.123Z", "*", "2026-02-14T10:05:00.123Z/../x", "\x00"),
        *("\uff12\uff10\uff12\uff16-02-14T10:05:00.123Z", "2026-02-14T10:05:00.123+00:00", "%2e%2e%2f", "x" * 10_000),
    ],
)
def test_a_timestamp_that_is_none_deletes_nothing(tmp_path: Path, times: list[str], timestamp: str) -> None:
    with pytest.raises(AtelierError) as error:
        delete_conversation(Recorded.here(tmp_path, ID), timestamp)
    refused(error, Code.VALIDATION_ERROR, "timestamp")
    assert count_conversations(Recorded.here(tmp_path, ID)) == len(times)


def test_deleting(tmp_path: Path, times: list[str]) -> None:
    delete_conversation(Recorded.here(tmp_path, ID), times[0])
    with pytest.raises(AtelierError) as error:
        delete_conversation(Recorded.here(tmp_path, ID), times[0])
    refused(error, Code.NOT_FOUND, "timestamp")
    assert delete_conversations(Recorded.here(tmp_path, ID)) == 2
    assert listed(tmp_path) == []
    assert remove_recordings(Recorded.here(tmp_path, ID)) is True
    assert not (tmp_path / "recordings" / ID).exists()


@pytest.mark.parametrize("workspace", ["", "..", "../0123456789ab", "0123456789AB", "0123456789ab/.."])
def test_ids_lead_nowhere_else(tmp_path: Path, workspace: str) -> None:
    with pytest.raises(AtelierError) as error:
        remove_recordings(Recorded.here(tmp_path, workspace))
    refused(error, Code.VALIDATION_ERROR, "id")


def test_a_page_of_a_thousand_takes_less_than_50_ms(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 400}]}
    for number in range(1000):
        stamp = f"2026-02-14T10:{number // 60:02d}:{number % 60:02d}.000Z"
        write(tmp_path, stamp, "odd" if number == 3 else "gpt", more=body)
    took = []
    for filters in ({}, {"offset": 900}, {"date_from": "2026-02-14T10:10:00Z"}):
        begin = time.thread_time()
        assert len(conversations(Recorded.here(tmp_path, ID), limit=100, **filters).conversations) == 100  # type: ignore[arg-type]
        took.append(time.thread_time() - begin)
    assert min(took) < 0.05


def test_organisations_stand_before_the_public_suffix() -> None:
    assert organisation("api.github.com") == "github"
    assert organisation("a.b.example.co.uk") == "example"
    assert [organisation(name) for name in ("com", "co.uk", "10.0.0.1", "::1", "")] == [None] * 5


def test_categories() -> None:
    categories = read_categories(
        {
            "AI APIs": {"labels": ["acme-ai"], "hosts": ["llm.school.example"]},
            "School": {"labels": ["school"]},
            "Version Control": {"hosts": ["git.school.example"]},
        },
    )
    found = {
        name: categories.of(name)
        for name in (
            *(
                "api.openai.com",
                "docs.python.org",
                "mirror.debian.example",
                "github.com",
                "files.pypi.example",
                "acme-ai.net",
            ),
            *("llm.school.example", "a.llm.school.example", "www.school.example", "git.school.example", "10.0.0.1"),
        )
    }
    assert list(found.values()) == [
        *("AI APIs", "Documentation", "System", "Version Control", "Package Managers", "AI APIs"),
        *("AI APIs", "AI APIs", "School", "Version Control", "Other"),
    ]
    grouped = categories.group({"github.com": {"count": 1}, "gitlab.com": {"count": 5}, "x.example": {"count": 1}})
    assert list(grouped) == ["Version Control", "Other"]
    assert [entry["domain"] for entry in grouped["Version Control"]] == ["gitlab.com", "github.com"]


@pytest.mark.parametrize("extension", [{"AI APIs": ["x"]}, {"AI APIs": {"label": []}}, {"AI APIs": {"labels": "x"}}])
def test_categories_that_are_none(extension: Any) -> None:
    with pytest.raises(AtelierError) as error:
        read_categories(extension)
    refused(error, Code.VALIDATION_ERROR, "domain_categories")


def test_the_report_of_a_workspace(tmp_path: Path, times: list[str]) -> None:
    workspace = row(proxy_mode=ProxyMode.LOGGING)
    (tmp_path / "recordings" / ID / "domains.json").write_text(json.dumps({"github.com": SEEN}))
    found = report(Recorded.here(tmp_path, ID), workspace, read_categories(), "clean")
    assert found["categorized"] == {"Version Control": [{"domain": "github.com", **SEEN}]}
    assert (found["total_domains"], found["conversation_count"]) == (1, 3)
    assert found["document"].startswith("# AI Session Documentation\n")
    with pytest.raises(AtelierError) as error:
        check_recorded(row())
    refused(error, Code.VALIDATION_ERROR, "name")


def test_a_page_ends_where_its_conversations_are_large(tmp_path: Path) -> None:
    """The API reads a seat's recordings in pieces for which it has the memory."""
    times = [write(tmp_path, f"2026-02-14T10:00:0{n}.000Z", text="x" * 6 * 1024**2) for n in range(6)]
    offset, found = 0, []
    while offset < 6:
        page = conversations(Recorded.here(tmp_path, ID), limit=1000, offset=offset)
        assert page.total == 6
        assert 1 <= len(page.conversations) <= 2
        found += [entry["timestamp"] for entry in page.conversations]
        offset += len(page.conversations)
    assert found == sorted(times, reverse=True)
