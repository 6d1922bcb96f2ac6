"""A program that gets so much time, memory and output, and no more. Without anything of ours but Python's own: the hook
uses it, too."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

_LARGEST_ERROR = 4096
# Under memory pressure the kernel kills a git process before the service, so only one push fails.
_FIRST_TO_GO = 1000
_LIMITED = f'ulimit -v "$1" && echo {_FIRST_TO_GO} >/proc/self/oom_score_adj; shift; exec "$@"'


def limited(command: Sequence[str], memory: int) -> list[str]:
    """The command with an address space of so many bytes, for itself and each program that it starts."""
    return ["/bin/sh", "-c", _LIMITED, "sh", str(memory // 1024), *command]


def _first_bytes(stream: IO[bytes]) -> bytes:
    """The beginning of a stream, which is read to its end."""
    first = stream.read(_LARGEST_ERROR)
    while stream.read(_LARGEST_ERROR):
        pass
    return first


def run_bounded(
    command: Sequence[str], environment: Mapping[str, str], *, seconds: float, limit: int
) -> tuple[str | None, bytes, bytes]:
    """Runs a program; returns an error, its output and its error output. The error is None after a success, and empty
    if the program's own output explains it."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 - they are pipes
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        clock = threading.Timer(seconds, end)
        clock.start()
        try:
            # Beside the output: a program whose errors nobody reads stops when their pipe is full.
            with ThreadPoolExecutor(1) as reader:
                first_errors = reader.submit(_first_bytes, process.stderr)
                output = process.stdout.read(limit + 1)
                if len(output) > limit:
                    process.kill()
                error = first_errors.result()
        finally:
            # The program may have closed its output, or nobody reads it, and still run.
            process.wait()
            clock.cancel()
    if late.is_set():
        return f"{command[0]} took longer than {seconds:g} seconds", b"", error
    if len(output) > limit:
        return f"{command[0]} printed more than {limit} bytes", b"", error
    return (None if process.returncode == 0 else ""), output, error
