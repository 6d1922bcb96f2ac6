"""Runs a program of an image to its end, with Docker's command line, in a container that is removed afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KILL_SECONDS = 10
# Exit status of timeout(1).
TIMED_OUT = (124, 137)
# Exit code of docker itself, for example if the image is missing.
NOT_RUN = 125


@dataclass(frozen=True)
class OneOff:
    """``folders``: paths on the host by their path in the container; those of ``written`` it may change.
    ``environment`` is visible to everybody on the host: no secrets."""

    name: str
    image: str
    arguments: Sequence[str]
    instance: str
    folders: Mapping[str, Path]
    written: Sequence[str]
    environment: Mapping[str, str]
    seconds: float


def run_once(url: str, program: OneOff) -> tuple[int, str]:
    """Runs it without privileges on the host's network; returns exit code and output. A container of that name that a
    killed run left is removed first."""
    docker = ["docker", "--host", url]
    subprocess.run([*docker, "rm", "--force", program.name], capture_output=True, check=False)
    done = subprocess.run(
        [
            *("timeout", f"--kill-after={_KILL_SECONDS}", f"{program.seconds:g}"),
            *(*docker, "run", "--rm", "--pull=never", f"--name={program.name}"),
            f"--label=atelier.instance={program.instance}",
            *("--network=host", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"),
            *("--memory=512m", "--pids-limit=256", "--tmpfs=/tmp"),
            *(f"--env={name}={value}" for name, value in program.environment.items()),
            *(
                f"--volume={source}:{target}{'' if target in program.written else ':ro'}"
                for target, source in program.folders.items()
            ),
            program.image,
            *program.arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")
