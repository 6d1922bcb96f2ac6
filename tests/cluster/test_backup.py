"""A backup of an installation on three machines, which comes back although one of them is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually

from .installation import Cluster
from .machines import Machine, away

# The first test waits for the first `up`, the last one for the purge and another.
pytestmark = pytest.mark.timeout(2400)
# An installation for this file alone: one machine is replaced by another.
VARIABLES: dict[str, Any] = {}
WORK = (
    "cd /workspace && echo $HOSTNAME > kept.txt && echo secret-canary > ~/.netrc && git add -A && git commit -qm kept"
)
KEPT = "cd /workspace && cat kept.txt ~/.netrc /etc/code-server/config.yaml && git log -1 --format=%H"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The words that name it."""
    folder = tmp_path_factory.mktemp("backup")
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_text("canary-of-the-repository\n")
    return str(folder / "repository"), "-e", f"atelier_backup_password_file={folder / 'key'}"


def inside(cluster: Cluster, seat: dict[str, Any], script: str) -> str:
    found = cluster.containers(seat["node"], seat["id"])
    assert found, (cluster.at(seat["node"], "docker", "ps", "--all"), seat, cluster.api("GET", "/api/jobs"))
    (container,) = found
    return cluster.at(seat["node"], "docker", "exec", "--user", "coder", container, "bash", "-c", script)


def test_a_machine_that_hangs_is_named_and_the_others_are_saved(
    cluster: Cluster, beta: Machine, repository: tuple[str, ...]
) -> None:
    with away(beta, "hang"):
        eventually(lambda: cluster.nodes()["beta"]["state"] != "ready", "the machine is known to be away", 60)
        answer = cluster.run("backup", *repository, fails=True)
    there = [seat["name"] for seat in cluster.seats() if seat["node"] == "beta"]
    assert f"These workspaces could not be saved: {', '.join(sorted(there))}." in answer
    eventually(lambda: cluster.nodes()["beta"]["state"] == "ready", "it is back", 60)


def test_all_come_back_on_their_machines(
    cluster: Cluster, alpha: Machine, beta: Machine, repository: tuple[str, ...]
) -> None:
    eventually(lambda: {seat["status"] for seat in cluster.seats()} == {"running"}, "all run", 60)
    seats = cluster.seats()
    assert {seat["node"] for seat in seats} == {"controller", "alpha", "beta"}
    for seat in seats:
        inside(cluster, seat, WORK)
    before = {seat["id"]: inside(cluster, seat, KEPT) for seat in seats}
    of_alpha = next(seat for seat in seats if seat["node"] == "alpha")
    cluster.api("POST", f"/api/projects/{of_alpha['id']}/checkpoint")
    recording = Path(cluster.state, "recordings", of_alpha["id"], "conversations", "one.json")
    alpha.run("sh", "-c", f"mkdir -p {recording.parent} && echo '{{}}' > {recording}")
    assert "6 workspaces" in cluster.run("backup", *repository)

    # Another machine takes beta's place; what is on the others is removed.
    cluster.machines.stop(beta)
    cluster.machines.start("beta", atelier_node_labels={})
    answer = cluster.run("restore", *repository, "--replace")
    assert "6 workspaces" in answer and "not restored" not in answer

    found = cluster.seats()
    same = ("id", "name", "node", "workspaceUrl", "group", "gitRepository", "createdAt")
    assert [{key: seat[key] for key in same} for seat in found] == [{key: seat[key] for key in same} for seat in seats]
    eventually(lambda: all(cluster.opens(seat) for seat in found), "all addresses open their seats", 60)
    assert {seat["id"]: inside(cluster, seat, KEPT) for seat in found} == before
    assert alpha.run("cat", str(recording)).strip() == "{}"
    for seat in found:
        assert "ahead" not in inside(cluster, seat, "cd /workspace && git push -q 2>&1; git status -sb")
    for name in ("alpha", "beta"):
        assert "snapshot" not in cluster.at(name, "docker", "images", "--format", "{{.Repository}}:{{.Tag}}")

    cluster.run("play", "reconcile", "-e", "repair=true")
    assert len(cluster.api("GET", f"/api/projects/{of_alpha['id']}/checkpoints")["checkpoints"]) == 1
    assert [name for name in cluster.stored("checkpoint") if of_alpha["id"] in name], "it is in the new registry, too"
    # With the settings that the restore was given.
    assert "Done: 0 changed" in cluster.run("up", *repository[1:])
