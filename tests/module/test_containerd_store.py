"""An engine whose images are in containerd's store: snapshots, checkpoints and resets are as they are elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.module.installation import Installation, is_healthy
from tests.module.second_engine import SUBNET, SecondEngine
from tests.module.small_image import SMALL

SECRET = "https://user:canary-in-credentials@host\n"
CREDENTIALS = "/home/coder/.git-credentials"
KEPT = ("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts")


@pytest.fixture(scope="module")
def away(engine: docker.DockerClient, small: str) -> Iterator[Installation]:
    second = SecondEngine(containerd_store=True)
    try:
        client = second.start()
        assert "io.containerd.snapshotter.v1" in str(client.info()["DriverStatus"])
        client.images.load(b"".join(engine.images.get(SMALL).save(named=True)))
        network = second.make_network(client)
        client.close()
        folder = Path(tempfile.mkdtemp(prefix="atelier-containerd-"))
        installation = Installation("atelier-second", folder, SUBNET, network, second.url)
        yield installation
        installation.remove()
    finally:
        second.stop()


@pytest.fixture
def source(away: Installation) -> Iterator[dict[str, Any]]:
    made = away.create(template="small", group="alpha")
    away.run_inside(made, f"printf '{SECRET}' > {CREDENTIALS}; chmod 600 {CREDENTIALS}; echo one > /workspace/lesson")
    yield made
    away.tasks("workspace", [{"id": row["id"], "state": "absent"} for row in away.rows()]).succeeded()
    away.is_tidy([])


@pytest.mark.parametrize("how", [{}, {"flatten_at": 1}], ids=["committed", "flattened"])
def test_clones_have_the_files_and_nothing_else_of_their_source(
    away: Installation, source: dict[str, Any], how: dict[str, Any]
) -> None:
    run = away.task("clone", source="Base", names=["Ann", "Ben"], **how).succeeded()
    (image,) = away.snapshots()
    template = away.docker.images.get(SMALL).attrs["Config"]
    assert {key: image.attrs["Config"].get(key) for key in KEPT} == {key: template.get(key) for key in KEPT}
    assert source["id"] not in str({**image.labels, "atelier.snapshot": ""})
    for seat in run.seats:
        assert is_healthy(seat["address"])
        assert away.read(seat, "/workspace/lesson") == b"one\n"
        assert away.read(seat, CREDENTIALS) == b""
        assert away.container(seat).labels["atelier.group"] == "alpha"
    assert away.read(source, CREDENTIALS) == SECRET.encode()
    # A clone of a clone stands by itself.
    away.clone(source="Ann", names=["Ann 1"]).succeeded()
    for name in ("Ann", "Base"):
        away.play("workspace_delete", workspace_name=name).succeeded()
    away.is_tidy(["Ann 1", "Ben"])
    assert away.play("reconcile").succeeded().result["drift"] == []


def test_checkpoint_and_reset(away: Installation, source: dict[str, Any]) -> None:
    away.play("workspace_checkpoint", workspace_name="Base").succeeded()
    away.run_inside(source, "echo two > /workspace/lesson")
    away.play("workspace_reset", workspace_name="Base").succeeded()
    assert away.read(source, "/workspace/lesson") == b"one\n"
    # A lost row is created again from the container's labels: empty ones count as missing.
    assert away.container(source).labels["atelier.group"] == "alpha"
    assert is_healthy(source["address"])
