"""Which processes belong to one execution of a playbook, and that all of them end with it."""

from __future__ import annotations

import os
import subprocess

from api.runner import adapter


def test_every_process_that_carries_the_id_ends_and_no_other() -> None:
    # As ansible-core's workers do: with a session of its own.
    ours, others = (
        subprocess.Popen(["sleep", "60"], env={**os.environ, adapter._MARK: id}, start_new_session=True)
        for id in ("ours", "others")
    )
    try:
        assert [process.pid for process in adapter._processes("ours")] == [ours.pid]
        adapter._end_all("ours")
        # It is a zombie until somebody waits for it.
        assert adapter._processes("ours") == []
        assert ours.wait() < 0
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()
