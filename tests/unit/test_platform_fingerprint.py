"""Whether a second ./atelier up has anything to do: the recorded state compared with the present one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.models import Node
from atelier.engine.client import Engine
from atelier.engine.models import SwarmNode
from atelier.host.platform_fingerprint import (
    MAX_AGE_SECONDS,
    Fingerprint,
    difference,
    git_server,
    machines,
    plays_unchanged,
    read_fingerprint,
    sources,
    write_fingerprint,
)
from forge_server import Reply, forge_server
from support import site

PARTS = {"the boot": "b", "the container atelier-api": "1 of sha256:2", "/etc/x": "d"}
PLAYS = {"Egress": "e", "Gateway": "g"}
NOTED = Fingerprint(1000, PARTS, {"a variable": "v"}, PLAYS)


def changed(**fields: Any) -> Fingerprint:
    return replace(NOTED, **{"at": 1001.0, **fields})


def test_the_same_needs_nothing() -> None:
    assert difference(NOTED, replace(NOTED, at=1000 + MAX_AGE_SECONDS - 1)) is None


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (changed(parts=PARTS | {"the boot": "c"}), "the boot changed"),
        (changed(parts={"the boot": "b", "/etc/x": "d"}), "the container atelier-api is gone"),
        (changed(parts=PARTS | {"/etc/y": "e"}), "/etc/y is new"),
        (changed(at=1000 + MAX_AGE_SECONDS), "the last complete run is more than a day ago"),
        (changed(of_api={"a variable": "w"}), "a variable changed"),
        (changed(at=999), "the last complete run is more than a day ago"),
    ],
)
def test_whatever_differs_is_named(now: Fingerprint, why: str) -> None:
    assert difference(NOTED, now) == why


@pytest.mark.parametrize(
    ("last", "now", "left_out"),
    [
        (NOTED, changed(of_api={"a variable": "w"}), ["Egress", "Gateway"]),
        (NOTED, changed(of_api={"a variable": "w"}, plays=PLAYS | {"Gateway": "h"}), ["Egress"]),
        # Whatever is missing of the platform: its play may be any.
        (NOTED, changed(parts={"the boot": "b"}), []),
        (NOTED, changed(at=1000 + MAX_AGE_SECONDS), []),
        (None, NOTED, []),
        (replace(NOTED, plays={}), NOTED, []),
    ],
)
def test_a_play_that_reads_nothing_that_changed_is_left_out(
    last: Fingerprint | None, now: Fingerprint, left_out: list[str]
) -> None:
    assert plays_unchanged(last, now) == left_out


def test_what_was_noted_is_read_again_and_what_is_broken_counts_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "platform.json"
    assert read_fingerprint(file) is None
    write_fingerprint(file, NOTED)
    assert read_fingerprint(file) == NOTED
    assert file.stat().st_mode & 0o777 == 0o600
    for text in ("", "[]", "{}", '{"at": "x", "parts": {}}', '{"at": 1, "parts": 1}'):
        file.write_text(text)
        assert read_fingerprint(file) is None
    assert difference(None, NOTED) == "no complete run is on record"


@pytest.mark.parametrize("unknown", [None, "token", "Basic"])
def test_a_git_server_that_knows_us_no_more_is_looked_at(tmp_path: Path, unknown: str | None) -> None:
    asked = iter(("token", "Basic"))

    def reply(method: str, path: str, body: Any) -> Reply:
        return (401, {"message": "no"}, {}) if next(asked) == unknown else (200, {"login": "atelier-service"}, {})

    assert git_server(site(tmp_path)) == {}
    with forge_server(tmp_path, reply) as (git, seen):
        said = git_server(replace(site(tmp_path), git=git))
    assert bool(said) is (unknown is None)
    assert seen[0] == "GET /api/v1/user token"


def test_files_and_folders_have_a_digest_of_all_that_is_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "roles"
    (folder / "a" / "__pycache__").mkdir(parents=True)
    (folder / "a" / "main.yml").write_text("one")
    paths = [folder, folder / "a" / "main.yml", tmp_path / "missing"]
    before = sources(paths)
    assert set(before) == {str(path) for path in paths[:2]}
    (folder / "a" / "__pycache__" / "x.pyc").write_text("compiled")
    assert sources(paths) == before
    (folder / "a" / "b").touch()
    assert sources(paths)[str(folder)] != before[str(folder)]
    assert sources(paths)[str(paths[1])] == before[str(paths[1])]


def test_machines_are_known_by_what_they_have_and_by_what_the_swarm_says(tmp_path: Path) -> None:
    member = SwarmNode("n1", {"atelier.node": "alpha"}, "ready", "active", "10.0.0.11", 1, 1.0, "26")
    one, several = site(tmp_path), replace(site(tmp_path), nodes=(Node("alpha", "unix:///alpha"),))
    known = [
        machines(cast(Engine, SimpleNamespace(swarm_nodes=lambda found=found: found)), of, {"alpha": digest})
        for of, found, digest in (
            (one, [], "d"),
            (several, [member], "d"),
            (several, [member], "e"),
            (several, [replace(member, state="down")], "d"),
            (several, [replace(member, labels={})], "d"),
            (several, [replace(member, availability="pause")], "d"),
        )
    ]
    assert known[0] == {}
    assert known[5] == known[1], "a machine that is paused stays so"
    assert len({str(sorted(each.items())) for each in known[1:5]}) == 4
