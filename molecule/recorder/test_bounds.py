"""The recorder's memory for one connection: its own mitmproxy, in a container with half its memory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import docker

HERE = Path(__file__).parent
MIB = 1024**2


def test_no_connection_takes_the_memory_of_all(site: dict[str, Any]) -> None:
    labels = [f"atelier.instance={site['instance']}", "atelier.service=recorder"]
    (recorder,) = docker.from_env().containers.list(filters={"label": labels})
    probe = HERE / "bounds_probe.py"
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--memory", "256m", "--tmpfs", "/home:mode=1777", "--env", "HOME=/home"),
            *("--volume", f"{probe}:/probe.py:ro", "--entrypoint", "python", recorder.attrs["Image"], "/probe.py"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["honest"][0] == 1000 * 65536 and found["honest"][1].endswith("ok")
    # Refused, after no more than what the kernels' buffers hold besides.
    for attack, most in (("headers", 16 * MIB), ("chunk", 16 * MIB), ("websocket", 48 * MIB)):
        assert found[attack][0] < most, (attack, found)
    assert found["peak"] < 200
