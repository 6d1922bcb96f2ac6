"""Names of seats' containers: they reveal no id, and older ones are found and renamed."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.containers.container_names import misnamed, read_names_key, with_names
from atelier.engine.models import Container
from support import site

ID, OTHER = "0123456789ab", "ba9876543210"


class Docker:
    """Containers by name, and what they were renamed to."""

    def __init__(self, *containers: Container) -> None:
        self.present = list(containers)
        self.renamed: list[tuple[str, str]] = []

    def containers(self, label: str) -> list[Container]:
        return self.present

    def container_names(self, label: str) -> dict[str, str]:
        return {container.name: container.labels.get("atelier.workspace", "") for container in self.present}

    def rename(self, name: str, wanted: str) -> None:
        self.renamed.append((name, wanted))


def container(name: str, id: str = ID, volume: str | None = None) -> Container:
    labels = {"atelier.workspace": id, "atelier.instance": "test"}
    return Container("c", name, "running", "i", labels, None, 0, 0, 0, volumes=[volume or f"test-{id}"])


def settle(tmp_path: Path, docker: Any, wait: float = 0) -> Any:
    return with_names(site(tmp_path), docker, Locks(tmp_path), wait)


def test_a_name_tells_no_id_and_stays(tmp_path: Path) -> None:
    made = settle(tmp_path, Docker())
    name = made.container_name(ID)
    assert ID not in name and name != made.container_name(OTHER)
    assert settle(tmp_path, Docker()).container_name(ID) == name
    assert replace(made, names_key=b"another").container_name(ID) != name  # no plain digest of the id
    assert repr(made.names_key) not in repr(made)
    assert stat.S_IMODE((tmp_path / "names.key").stat().st_mode) == 0o600


def test_names_of_before_are_renamed_once(tmp_path: Path) -> None:
    kept = "-kept-20260101t000000000000z"
    docker = Docker(
        container(f"test-{ID}"),
        container(f"test-{ID}{kept}"),
        container(f"test-{OTHER}-new", OTHER),
        container("somebody", volume="other"),
        container(f"test-{OTHER}", volume="other"),  # made by hand from a seat's image
    )
    made = settle(tmp_path, docker)
    assert docker.renamed == [
        (f"test-{ID}", made.container_name(ID)),
        (f"test-{ID}{kept}", made.container_name(ID) + kept),
        (f"test-{OTHER}-new", made.container_name(OTHER) + "-new"),
    ]
    settle(tmp_path, docker)
    assert len(docker.renamed) == 3


def test_a_lost_key_leaves_names_that_are_found_again(tmp_path: Path) -> None:
    """Also two containers that would have one name do not: the one that has it already is the seat's."""
    made = settle(tmp_path, Docker())
    assert misnamed(made, [container("test-seat-aaaaaaaaaaaa")]) == {"test-seat-aaaaaaaaaaaa": made.container_name(ID)}
    assert misnamed(made, [container(f"test-{ID}"), container(made.container_name(ID))]) == {}


def test_nothing_is_renamed_while_somebody_works_on_a_seat(tmp_path: Path) -> None:
    docker = Docker(container(f"test-{ID}"), container(f"test-{OTHER}", OTHER))
    with Locks(tmp_path).workspace(OTHER, 0), pytest.raises(AtelierError) as caught:
        settle(tmp_path, docker)
    assert caught.value.code is Code.WORKSPACE_BUSY
    assert (docker.renamed, read_names_key(tmp_path)) == ([], None)


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.key").write_text("no key")
    with pytest.raises(AtelierError, match=r"names\.key"):
        read_names_key(tmp_path)
