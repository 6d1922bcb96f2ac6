"""The script that starts dockerd without systemd: at boot, after a crash, twice at once, and when it can't."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import eventually

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SOCKET = FOLDER / "docker.sock"
PIDFILE = FOLDER / "docker.pid"
CONTAINERD_PIDFILE = FOLDER / "exec/containerd/containerd.pid"
RULES = FOLDER / "firewall.d"
TABLE = "atelier-molecule-boot"


def start() -> subprocess.CompletedProcess[str]:
    return subprocess.run([FOLDER / "bin/start-dockerd"], capture_output=True, text=True, check=False)


def answers() -> bool:
    done = subprocess.run(["docker", "--host", f"unix://{SOCKET}", "version"], capture_output=True, check=False)
    return done.returncode == 0


def stop(number: signal.Signals = signal.SIGTERM) -> None:
    pid = int(PIDFILE.read_text())
    assert Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"
    os.kill(pid, number)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "dockerd ends")


def table_exists() -> bool:
    return subprocess.run(["nft", "list", "table", "inet", TABLE], capture_output=True, check=False).returncode == 0


@pytest.fixture
def rules() -> Iterator[Path]:
    RULES.mkdir()
    yield RULES / "test.nft"
    (RULES / "test.nft").unlink(missing_ok=True)
    RULES.rmdir()
    subprocess.run(["nft", "delete", "table", "inet", TABLE], capture_output=True, check=False)


def test_the_role_started_it() -> None:
    assert answers()
    # Not the host's own one.
    assert Path(f"/proc/{PIDFILE.read_text()}/comm").read_text() == "dockerd\n"
    assert b"--data-root" in Path(f"/proc/{PIDFILE.read_text()}/cmdline").read_bytes()


def test_one_that_answers_is_left_alone() -> None:
    before = PIDFILE.read_text()
    done = start()
    assert done.returncode == 0
    assert "already answers" in done.stdout
    assert PIDFILE.read_text() == before


def test_the_firewall_is_loaded_before_dockerd(rules: Path) -> None:
    stop()
    rules.write_text(f"table inet {TABLE} {{ }}\n")
    assert start().returncode == 0
    assert table_exists()
    assert answers()


def test_without_its_firewall_dockerd_is_not_started(rules: Path) -> None:
    stop()
    rules.write_text("table inet {\n")
    done = start()
    assert done.returncode != 0
    assert "test.nft" in done.stderr
    assert not answers()
    rules.unlink()
    assert start().returncode == 0


def supervisors() -> list[int]:
    wanted = f"/bin/sh\0{FOLDER}/bin/start-dockerd\0supervise\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted:
                found.append(int(entry.name))
    return found


def the_supervisor() -> int:
    """Its process id."""
    (one,) = eventually(lambda: found if len(found := supervisors()) == 1 else None, "one supervisor runs")
    return int(one)


def test_a_dockerd_that_dies_comes_back_by_itself_again_and_again() -> None:
    assert start().returncode == 0
    before_it_died = the_supervisor()
    for _ in range(2):
        before = PIDFILE.read_text()
        stop(signal.SIGKILL)
        eventually(lambda before=before: answers() and PIDFILE.read_text() != before, "dockerd is back")  # type: ignore[misc]
    # A second start reports that it already runs.
    assert "already answers" in start().stdout
    assert the_supervisor() == before_it_died


def test_a_supervisor_that_dies_is_replaced_when_the_script_runs_again() -> None:
    dead = the_supervisor()
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: dead not in supervisors(), "it has ended")
    assert "already answers" in start().stdout
    assert the_supervisor() != dead


def test_one_that_was_asked_to_end_stays_away() -> None:
    stop()
    eventually(lambda: not supervisors(), "no supervisor runs")
    assert not answers()
    assert start().returncode == 0
    the_supervisor()
    # And the supervisor ends without dockerd.
    subprocess.run([FOLDER / "bin/start-dockerd", "unsupervise"], check=True)
    eventually(lambda: not supervisors(), "no supervisor runs")
    assert answers()


def test_a_supervisor_that_is_ended_as_soon_as_it_is_started_is_gone() -> None:
    for _ in range(20):
        assert start().returncode == 0
        subprocess.run([FOLDER / "bin/start-dockerd", "unsupervise"], check=True)
    # One that was left would be the second.
    assert start().returncode == 0
    the_supervisor()
    subprocess.run([FOLDER / "bin/start-dockerd", "unsupervise"], check=True)
    eventually(lambda: not supervisors(), "no supervisor runs")


def test_it_is_started_at_boot() -> None:
    assert f"@reboot root {FOLDER}/bin/start-dockerd" in (FOLDER / "cron.d/atelier-dockerd").read_text()


@pytest.fixture
def zombie() -> Iterator[int]:
    """The id of a dead dockerd that nobody has buried, as in a container without an init."""
    process = subprocess.Popen(["bash", "-c", "printf dockerd >/proc/self/comm"])
    eventually(lambda: "State:\tZ" in Path(f"/proc/{process.pid}/status").read_text(), "it is dead")
    assert Path(f"/proc/{process.pid}/comm").read_text() == "dockerd\n"
    yield process.pid
    process.wait()


def test_it_comes_back_after_a_kill_whose_pid_another_process_has() -> None:
    stop(signal.SIGKILL)
    PIDFILE.write_text(str(os.getpid()))
    CONTAINERD_PIDFILE.write_text(str(os.getpid()))
    done = start()
    assert done.returncode == 0, done.stderr
    assert answers()


def test_it_comes_back_after_a_kill_that_left_a_zombie(zombie: int) -> None:
    stop(signal.SIGKILL)
    PIDFILE.write_text(str(zombie))
    done = start()
    assert done.returncode == 0, done.stderr
    assert answers()


def test_two_at_once_start_one() -> None:
    stop()
    both = [subprocess.Popen([FOLDER / "bin/start-dockerd"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    words = sorted(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert "already answers" in words[0]
    assert "started" in words[1]


def start_with(old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with a change."""
    script, changed = FOLDER / "bin/start-dockerd", FOLDER / "bin/changed"
    assert old in script.read_text()
    changed.write_text(script.read_text().replace(old, new))
    changed.chmod(0o755)
    done = subprocess.run([changed], capture_output=True, text=True, check=False, timeout=120)
    changed.unlink()
    return done


def test_a_start_beside_one_that_hangs_ends_in_its_time() -> None:
    pid = int(PIDFILE.read_text())
    os.kill(pid, signal.SIGSTOP)
    done = start_with("deadline=$(($(date +%s) + 60))", "deadline=$(($(date +%s) + 1))")
    os.kill(pid, signal.SIGCONT)
    assert done.returncode != 0
    assert "dockerd did not answer within" in done.stderr
    assert start().returncode == 0
    assert int(PIDFILE.read_text()) == pid


def test_a_start_that_fails_shows_why() -> None:
    stop()
    done = start_with("--bridge=mol-docker", "--storage-driver=nonsense")
    assert done.returncode != 0
    assert "dockerd ended instead of starting" in done.stderr
    assert "nonsense" in done.stderr
    assert start().returncode == 0
