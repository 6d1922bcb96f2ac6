"""The processes of one execution of a playbook: they are found, and all end with it."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from api.runner import adapter
from tests.waiting import eventually


def test_every_process_that_carries_the_id_ends_and_no_other() -> None:
    # Like ansible-core's workers: in a separate session.
    ours, others = (
        subprocess.Popen(["sleep", "60"], env={**os.environ, adapter._MARK: id}, start_new_session=True)
        for id in ("ours", "others")
    )
    try:
        # On a busy machine a program that has just begun shows no environment yet.
        eventually(lambda: [process.pid for process in adapter._processes("ours")] == [ours.pid], "ours is found", 10)
        adapter._end_all("ours")
        # It is a zombie until somebody waits for it.
        assert adapter._processes("ours") == []
        assert ours.wait() < 0
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()


def test_a_playbook_that_was_killed_is_not_told_as_its_last_output(tmp_path: Path) -> None:
    playbook = tmp_path / "waits.yml"
    playbook.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks: [{ansible.builtin.pause: {seconds: 60}}]\n"
    )
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
    execution = adapter.Execution("0123456789ab", playbook, inventory, {}, 30)
    ended = adapter.execute(execution, lambda _: adapter._end_all(execution.id), threading.Event())
    assert (ended.state, getattr(ended.error, "message", None)) == ("error", "The playbook was killed before its end.")
