"""Upgrades: what a seat keeps and loses, an image that does not start, and one that is gone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from tests.module.installation import Installation, is_healthy

TEMPLATE = "aged"
IMAGE = f"atelier-test/workspace:{TEMPLATE}"


@pytest.fixture
def release(engine: docker.DockerClient, small: str) -> Iterator[Callable[..., None]]:
    """Makes another image of the template."""

    def make(inputs: str, *lines: str) -> None:
        dockerfile = "\n".join((f"FROM atelier-test/workspace:{small}", f"LABEL atelier.inputs={inputs}", *lines))
        engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=IMAGE, rm=True)

    yield make
    engine.images.remove(IMAGE, force=True)


def kept(site: Installation) -> list[str]:
    return sorted(container.name for container in site.containers() if "-kept-" in container.name)


def upgrade(site: Installation, *flags: str, **variables: Any) -> dict[str, Any]:
    return site.play("workspace_upgrade", *flags, **variables).succeeded().result


def version(number: int) -> tuple[str, ...]:
    """Lines of an image that has its number in /opt, and a file in /workspace."""
    return (
        "USER root",
        f"RUN mkdir -p /opt && echo {number} >/opt/version",
        "USER coder",
        "RUN echo x >/workspace/skeleton",
    )


def test_a_seat_keeps_its_files_and_nothing_else(site: Installation, release: Callable[..., None]) -> None:
    release("1", *version(1))
    base = site.create(template=TEMPLATE, password="correct horse battery")
    (asleep,) = site.clone(source="Base", names=["Asleep"]).succeeded().seats
    for seat in (base, asleep):
        site.run_inside(seat, "rm /workspace/skeleton; echo mine >/workspace/work; ln /workspace/work /workspace/same")
        site.run_inside(seat, "chmod 640 /workspace/work; mkdir ~/.config; echo x >~/.config/tool")
        site.container(seat).exec_run(["sh", "-c", "echo gone >/opt/lost"], user="root")
    site.play("workspace_stop", workspace_name="Asleep").succeeded()
    before = {name: site.row(name) for name in ("Base", "Asleep")}
    config = site.read(base, "/etc/code-server/config.yaml")
    release("2", *version(2))

    foretold = upgrade(site, "--check", upgrade_all=True)
    assert [(seat["name"], seat["changed"]) for seat in foretold["seats"]] == [("Base", True), ("Asleep", True)]
    assert kept(site) == []
    outcome = upgrade(site, upgrade_all=True)
    assert (outcome["changed"], outcome["failed_seats"]) == (True, [])
    assert kept(site) == sorted(seat["kept"] for seat in outcome["seats"])
    assert {name: site.row(name) for name in before} == before
    assert (is_healthy(base["address"]), site.container(asleep).status) == (True, "exited")
    assert site.read(base, "/etc/code-server/config.yaml") == config
    site.play("workspace_start", workspace_name="Asleep").succeeded()
    for seat in (base, asleep):
        told = site.run_inside(
            seat, "stat -c '%a %u %g %h' /workspace/work; cat /workspace/same ~/.config/tool /opt/version"
        )
        assert told.split("\n") == ["640 1000 1000 2", "mine", "x", "2"]
        assert (
            site.run_inside(seat, "for f in /workspace/skeleton /opt/lost; do [ -e $f ] && echo $f; done; true") == ""
        )
    # Again, there is nothing to do; and a reset has the present image, too.
    assert upgrade(site, workspace_name="Base")["changed"] is False
    assert site.play("reconcile").succeeded().result["drift"] == []
    site.play("workspace_delete", workspace_name="Asleep").succeeded()

    # One that does not come up has its old container again, and says so.
    release("3", 'ENTRYPOINT ["/bin/sh", "-c", "exit 3"]')
    old = site.container(base).id
    failed = site.play("workspace_upgrade", workspace_name="Base")
    assert "has its old container again" in failed.failed("IDE_NOT_READY", "name")["msg"]
    assert (site.container(base).id, is_healthy(base["address"])) == (old, True)

    # Without its template's image nothing is changed.
    site.docker.images.remove(IMAGE, force=True)
    site.play("workspace_upgrade", workspace_name="Base").failed("INVALID_PROJECT_TYPE", "template")
    assert site.container(base).id == old
    assert "Exactly one of" in site.play("workspace_upgrade").result["msg"]
    release("4")
    site.play("workspace_delete", workspace_name="Base").succeeded()
    site.is_tidy([])


def test_a_seat_that_grows_when_it_is_told_to_end_keeps_its_container(
    site: Installation, release: Callable[..., None]
) -> None:
    """It is small when it is measured, and makes files that are large by name only when it gets the signal."""
    grow = "perl -e 'open F, q(>/workspace/x); truncate F, 2**30'"
    words = ["/bin/sh", "-c", f'trap "{grow}; exit 0" TERM; perl /server.pl & while :; do wait; done']
    release("1", f"ENTRYPOINT {json.dumps(words)}")
    base = site.create(template=TEMPLATE, password="correct horse battery")
    old = site.container(base).id
    release("2", f"ENTRYPOINT {json.dumps(words)}")
    failed = site.play("workspace_upgrade", workspace_name="Base", atelier_archive_max_mib=64)
    assert "'Base' cannot be copied" in failed.failed("SNAPSHOT_FAILED", "source")["msg"]
    assert (site.container(base).id, is_healthy(base["address"])) == (old, True)
    assert site.run_inside(base, "stat -c %s /workspace/x").strip() == str(2**30)
    site.play("workspace_delete", workspace_name="Base").succeeded()
    site.is_tidy([])
