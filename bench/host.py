"""The installation for the figures, created and removed by the bench."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import psutil

ROOT = Path(__file__).parent.parent
INSTANCE = "atelier-bench"
SUBNET = "172.25.0.0/16"
IMAGE = "atelier/workspace:empty"


@contextmanager
def installation() -> Iterator[Path]:
    """A network and a state folder of the bench's own; yields a file of variables that select them."""
    api = docker.APIClient(version="auto", timeout=300)
    state = Path(tempfile.mkdtemp(prefix="atelier-bench-"))
    clear(api)
    api.create_network(
        f"{INSTANCE}-open",
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=SUBNET)]),
        options={"com.docker.network.bridge.enable_icc": "false", "com.docker.network.bridge.name": "atl-bench"},
        labels={"atelier.instance": INSTANCE},
    )
    variables = state / "bench.json"
    variables.write_text(
        json.dumps(
            {
                "atelier_instance": INSTANCE,
                "atelier_state_dir": str(state / "state"),
                "atelier_network_open_subnet": SUBNET,
                "atelier_enable_proxy": False,
                "atelier_ready_timeout": 120,
            }
        )
    )
    try:
        yield variables
    finally:
        clear(api)
        shutil.rmtree(state)


def clear(api: docker.APIClient) -> None:
    """Removes every container, volume and network of the bench."""
    label = {"label": f"atelier.instance={INSTANCE}"}
    for container in api.containers(all=True, filters=label):
        api.remove_container(container["Id"], force=True, v=True)
    for volume in api.volumes(filters=label)["Volumes"] or ():
        api.remove_volume(volume["Name"])
    for image in api.images(filters=label):
        api.remove_image(image["Id"], force=True)
    for network in api.networks(filters=label):
        api.remove_network(network["Id"])


def play(variables: Path, playbook: str, **extra: object) -> float:
    """Runs a playbook and returns its seconds, from the start of ansible-playbook to its end."""
    command = [
        *(str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "playbooks" / f"{playbook}.yml")),
        *("-e", f"@{variables}", "-e", json.dumps(extra)),
    ]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=False)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"{playbook} failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return seconds


def peak_memory_mib() -> float:
    """The largest resident size that any process of the playbooks so far had, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def available_memory_gib() -> float:
    return psutil.virtual_memory().available / 1024**3


def description() -> str:
    """The machine in one line."""
    info = docker.APIClient(version="auto").info()
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = info["MemTotal"] / 1024**3
    return (
        f"{info['NCPU']} cores ({model}), {memory:.0f} GiB, {info['OperatingSystem']}, Docker {info['ServerVersion']}"
    )
