"""One workspace: created, changed while it runs, stopped, removed; only requested changes are made."""

from __future__ import annotations

from typing import Any

from atelier.common.passwords import verify_password

from tests.module.installation import Installation, asks_for_password, is_healthy, login
from tests.waiting import eventually

PASSWORD, OTHER = "correct horse battery", "staple wagon 42"


def test_made_once_and_then_left_alone(site: Installation) -> None:
    run = site.play("workspace_create", workspace_name="Base", workspace_group="school", workspace_notes="für alle")
    made = run.succeeded().result["workspace"]
    assert run.changed
    assert (made["status"], made["group"], made["notes"], made["memory"]) == ("running", "school", "für alle", "2g")
    assert made["url"] == f"http://{made['id']}.localhost/"
    assert is_healthy(made["address"])
    site.is_tidy(["Base"])
    again = site.play("workspace_create", workspace_name="Base", workspace_group="school", workspace_notes="für alle")
    assert not again.succeeded().changed
    assert again.result["workspace"] == made


def test_modules_run_packed_too(site: Installation) -> None:
    """Without our action plugins in its configuration Ansible runs them in separate interpreters."""
    task = site.write_task("workspace_info")
    run = site.start(task, environment={"ANSIBLE_ACTION_PLUGINS": str(site.folder)}).wait()
    assert run.succeeded().result["workspaces"] == []


def test_check_mode_tells_and_makes_nothing(site: Installation, small: str) -> None:
    run = site.play(
        "workspace_create", "--check", "--diff", workspace_name="Base", workspace_template=small
    ).succeeded()
    assert run.changed
    assert run.result["workspace"]["status"] == "running"
    assert run.result["diff"]["before"] == {}
    assert not site.state.exists()
    assert site.containers() == []
    assert site.volumes() == []


def test_what_check_mode_tells_is_what_happens(site: Installation, small: str) -> None:
    """Each change is first asked about, then made: both must agree, and asking must change nothing."""
    site.create(template=small)
    id = site.row("Base")["id"]
    wishes: list[dict[str, Any]] = [
        {"memory": "1g", "cpus": "1", "group": "spring school", "notes": "n", "password": PASSWORD},
        {"state": "stopped"},
        {"state": "present"},
        {"state": "started", "memory": "4g", "remove_password": True},
        {"id": id, "name": "Renamed 1"},
        {"id": id, "name": "Renamed 1", "state": "absent"},
    ]
    for wish in wishes:
        arguments = {"name": "Base", **wish}
        before = site.rows(), [(c.attrs["State"], c.attrs["HostConfig"]) for c in site.containers()]
        told = site.task("workspace", "--check", "--diff", **arguments).succeeded().result
        assert (site.rows(), [(c.attrs["State"], c.attrs["HostConfig"]) for c in site.containers()]) == before
        done = site.task("workspace", "--diff", **arguments).succeeded().result
        assert told["changed"] == done["changed"] == (wish != {"state": "present"}), wish
        assert (told["diff"], told["workspace"]) == (done["diff"], done["workspace"]), wish
    assert not site.task("workspace", name="Renamed 1", state="absent").succeeded().changed
    site.is_tidy([])


def test_limits_change_on_the_live_container(site: Installation, small: str) -> None:
    made = site.create(template=small, memory="2g", cpus="2")
    site.container(made).update(cpu_shares=1024)  # as a container that an earlier version made
    before = site.container(made).attrs
    assert (before["HostConfig"]["Memory"], before["HostConfig"]["NanoCpus"]) == (2 << 30, 2_000_000_000)
    site.create(memory="1g", cpus="1")
    after = site.container(made).attrs
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]
    assert (after["HostConfig"]["Memory"], after["HostConfig"]["MemorySwap"]) == (1 << 30, 1 << 30)
    assert (after["HostConfig"]["NanoCpus"], after["HostConfig"]["CpuShares"]) == (1_000_000_000, 64)
    limits = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert site.run_inside(made, limits) == str(1 << 30)


def test_stop_start_keep_address_and_files(site: Installation) -> None:
    made = site.create(password=PASSWORD)
    site.run_inside(made, "echo kept > /workspace/kept")
    stopped = site.play("workspace_stop", workspace_name="Base").succeeded()
    assert stopped.result["workspace"]["status"] == "stopped"
    assert site.container(made).status == "exited"
    assert not site.play("workspace_stop", workspace_name="Base").succeeded().changed
    assert site.routes() == {made["id"]: made["address"]}
    started = site.play("workspace_start", workspace_id=made["id"]).succeeded()
    assert started.result["workspace"] == made
    assert not site.play("workspace_start", workspace_id=made["id"]).succeeded().changed
    assert login(made["address"], PASSWORD)
    assert site.run_inside(made, "cat /workspace/kept") == "kept"
    network = site.container(made).attrs["NetworkSettings"]["Networks"]
    assert [entry["IPAddress"] for entry in network.values()] == [made["address"]]


def test_made_stopped(site: Installation, small: str) -> None:
    run = site.task("workspace", name="Base", template=small, state="stopped").succeeded()
    assert run.result["workspace"]["status"] == "stopped"
    assert not site.task("workspace", name="Base", template=small, state="stopped").succeeded().changed


def test_deleting_leaves_nothing(site: Installation, small: str) -> None:
    site.create(template=small)
    assert site.play("workspace_delete", workspace_name="Base").succeeded().changed
    site.is_tidy([])
    assert not site.play("workspace_delete", workspace_name="Base").succeeded().changed


def test_another_password_while_it_runs(site: Installation) -> None:
    made = site.create(password=PASSWORD)
    started_at = site.container(made).attrs["State"]["StartedAt"]
    assert login(made["address"], PASSWORD)
    assert not login(made["address"], OTHER)
    changed = site.play("workspace_password", workspace_name="Base", workspace_password=OTHER).succeeded()
    assert changed.changed
    # At once, not some time after the module has ended.
    assert not login(made["address"], PASSWORD)
    assert login(made["address"], OTHER)
    # Nothing in the seat could have kept a session alive: its container was started again.
    assert site.container(made).attrs["State"]["StartedAt"] > started_at
    assert not site.play("workspace_password", workspace_name="Base", workspace_password=OTHER).succeeded().changed
    opened = site.play("workspace_password", workspace_name="Base", workspace_remove_password=True).succeeded()
    assert opened.result["workspace"]["password_protected"] is False
    assert not asks_for_password(made["address"])


def test_another_password_while_it_is_stopped(site: Installation) -> None:
    made = site.create(password=PASSWORD)
    site.play("workspace_stop", workspace_name="Base").succeeded()
    site.play("workspace_password", workspace_name="Base", workspace_password=OTHER).succeeded()
    assert site.container(made).status == "exited"
    site.play("workspace_start", workspace_name="Base").succeeded()
    assert not login(made["address"], PASSWORD)
    assert login(made["address"], OTHER)


def test_a_password_made_up_is_told_once(site: Installation) -> None:
    first = site.task("workspace", name="Base", generate_password=True).succeeded().result["workspace"]
    assert login(first["address"], first["password"])
    assert first["password"] not in (site.state / "registry.sqlite3").read_bytes().decode(errors="replace")
    again = site.task("workspace", name="Base", generate_password=True).succeeded()
    assert not again.changed
    assert again.result["workspace"]["password"] is None


def test_a_container_removed_behind_our_back_is_reported_and_made_again(site: Installation) -> None:
    made = site.create(password=PASSWORD, notes="n")
    site.container(made).remove(force=True)
    (seen,) = site.task("workspace_info", name="Base").succeeded().result["workspaces"]
    assert (seen["status"], seen["error"]) == ("error", "Its container was removed.")
    run = site.play("workspace_create", workspace_name="Base").succeeded()
    assert run.changed
    assert run.result["workspace"] == made
    assert "files that were only in the old one are lost" in " ".join(map(str, run.result["warnings"]))
    assert login(made["address"], PASSWORD)
    site.is_tidy(["Base"])


def test_one_that_was_paused_by_hand_is_woken_by_start(site: Installation, small: str) -> None:
    made = site.create(template=small)
    site.container(made).pause()
    assert site.play("workspace_start", workspace_name="Base").succeeded().changed
    assert is_healthy(made["address"])
    site.container(made).pause()
    assert site.play("workspace_stop", workspace_name="Base").succeeded().changed
    assert site.container(made).status == "exited"


def test_one_whose_configuration_was_lost_keeps_ending_and_is_mended_by_start(site: Installation) -> None:
    made = site.create(password=PASSWORD)
    assert site.container(made).exec_run(["rm", "/etc/code-server/config.yaml"], user="root").exit_code == 0
    assert site.container(made).exec_run(["kill", "-TERM", "1"]).exit_code == 0
    eventually(lambda: site.container(made).status == "restarting", "the container to end again and again")
    seen = eventually(lambda: _seen_as_error(site), "an error to be seen")
    assert seen == "Its container keeps crashing; see its log."
    site.play("workspace_start", workspace_name="Base").succeeded()
    eventually(lambda: is_healthy(made["address"]), "the IDE to be up")
    assert asks_for_password(made["address"])
    assert login(made["address"], PASSWORD)


def _seen_as_error(site: Installation) -> str | None:
    (seen,) = site.task("workspace_info").succeeded().result["workspaces"]
    return str(seen["error"]) if seen["status"] == "error" else None


def test_hardening(site: Installation) -> None:
    made = site.create(memory="1g", cpus="1")
    host = site.container(made).attrs["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 2048
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host["Ulimits"]} == {
        "nofile": (16384, 16384),
        "core": (0, 0),
        "fsize": (8 << 30, 8 << 30),
    }
    assert (host["CpuShares"], host["OomScoreAdj"]) == (64, 500)
    assert not host["Binds"]
    assert host["NetworkMode"] == site.variables["atelier_network_open_name"]
    assert (host["PidMode"], host["IpcMode"], host["UTSMode"], host["UsernsMode"]) == ("", "private", "", "")
    status = dict(line.split(":", 1) for line in site.run_inside(made, "cat /proc/self/status").splitlines())
    fields = {key: value.strip() for key, value in status.items()}
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert fields["Uid"].split() == ["1000"] * 4
    pids = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max"
    assert site.run_inside(made, f"{pids}; ulimit -n").split() == ["2048", "16384"]
    assert site.run_inside(made, "cat /proc/1/oom_score_adj; ulimit -c") == "500\n0"
    large = "truncate -s 15T /workspace/large 2>&1; stat -c %s /workspace/large"
    assert site.run_inside(made, large).splitlines()[-1] == "0"
    # The password's hash may be read by the IDE's user, not changed.
    assert (
        site.run_inside(made, "stat -c '%U %a' /etc/code-server/config.yaml; test ! -w /etc/code-server") == "root 640"
    )


def test_no_secret_in_environment_labels_or_arguments(site: Installation) -> None:
    made = site.create(password=PASSWORD)
    attributes = str(site.container(made).attrs)
    password_hash = site.row("Base")["password_hash"]
    assert PASSWORD not in attributes
    assert password_hash not in attributes
    shown = site.run_inside(made, "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
    assert PASSWORD not in shown
    assert password_hash not in shown


def test_two_at_once_are_served_one_after_the_other(site: Installation, small: str) -> None:
    """Two people make the same workspace at the same moment: one makes it, the other finds it made."""
    order = {"workspace_name": "Base", "workspace_template": small, "workspace_memory": "1g"}
    started = [site.start("workspace_create", **order) for _ in range(2)]
    runs = [run.wait().succeeded() for run in started]
    assert sorted(run.changed for run in runs) == [False, True]
    made = runs[0].result["workspace"]
    site.is_tidy(["Base"])
    # And on an existing one: the second run waits for the first, then does its own work.
    started = [
        site.start("workspace_stop", workspace_name="Base"),
        site.start("workspace_password", workspace_name="Base", workspace_password=PASSWORD),
        site.start("workspace_start", workspace_name="Base"),
    ]
    for run in started:
        run.wait().succeeded()
    site.play("workspace_start", workspace_name="Base").succeeded()
    assert verify_password(site.row("Base")["password_hash"], PASSWORD)
    assert is_healthy(made["address"])
    site.is_tidy(["Base"])
