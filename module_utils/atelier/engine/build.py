"""Building an image from a folder, with Docker's command line: Docker's SDK does not speak BuildKit's protocol, which
build secrets and the build cache need."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.plain_text import last_of, on_one_line
from .models import ImageBuild
from .one_off import TIMED_OUT

_KEPT_OUTPUT = 16 * 1024
_SHOWN_OUTPUT = 2000
_LONGEST_REASON = 300
_REASON_LINES = 3
_TICK_SECONDS = 10.0
_KILL_SECONDS = 10
_SHORTEST_SECRET = 5  # shorter values, such as "true", are not secrets
# "#7 [2/2] RUN ..." when a step begins, "#7 3.1 text" for its output, in --progress=plain.
_STEP = re.compile(r"^#\d+ \[(?:\S+ )?(\d+)/(\d+)\] ", re.MULTILINE)
_OUTPUT = re.compile(r"^#\d+ \d+\.\d+ (.*\S)", re.MULTILINE)

# Called with the seconds since the build began, the finished steps and all steps.
Report = Callable[[float, int, int], None]


def build_image(url: str, build: ImageBuild, report: Report) -> None:
    """Builds the image with the engine at ``url``. The tag appears when the build is complete.

    Calls ``report`` when a step begins, and every ten seconds. Raises TEMPLATE_BUILD_FAILED (ENGINE_ERROR for an image
    that is no template's) with the end of the output, also after ``build.seconds``, and DISK_FULL.
    """
    begin = time.monotonic()
    secrets = {id: path for id, path in build.secrets.items() if path.is_file()}
    settings = "\n".join(path.read_text(errors="replace") for path in secrets.values())
    text, file = (build.dockerfile, "-") if isinstance(build.dockerfile, str) else ("", build.dockerfile)
    # timeout(1) also ends the build when this process is killed. Not "buildx build": Docker before version 23 has
    # BuildKit, but not this plugin.
    command = [
        *("timeout", f"--kill-after={_KILL_SECONDS}", f"{build.seconds:g}"),
        *("docker", "--host", url, "build", "--progress=plain", f"--file={file}", f"--tag={build.tag}"),
        *(f"--build-arg={name}={value}" for name, value in build.args.items()),
        *(f"--label={name}={value}" for name, value in build.labels.items()),
        *chain.from_iterable(("--secret", f"id={id},type=file,src={path}") for id, path in secrets.items()),
        str(build.context),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    ) as process:
        try:
            output = _follow(process, text, lambda done, total: report(time.monotonic() - begin, done, total))
        except BaseException:
            process.terminate()  # timeout(1) passes it on
            raise
    if process.returncode:
        raise _failure(build, process.returncode, _without_secrets(output, settings))


def _follow(process: subprocess.Popen[bytes], dockerfile: str, report: Callable[[int, int], None]) -> str:
    """Passes on the Dockerfile, and returns the end of the output when the program has ended."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
    try:
        process.stdin.write(dockerfile.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended; its output says why
    output, step, reported = b"", (0, 1), time.monotonic()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            if waiting.select(_TICK_SECONDS):
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    return output.decode(errors="replace")
                output = (output + chunk)[-_KEPT_OUTPUT:]
            begun = _STEP.findall(output.decode(errors="replace"))
            now = (int(begun[-1][0]) - 1, int(begun[-1][1])) if begun else step
            if now != step or time.monotonic() > reported + _TICK_SECONDS:
                step, reported = now, time.monotonic()
                report(*step)


def _without_secrets(output: str, settings: str) -> str:
    """The output without credentials of the package managers' settings, and without any in addresses."""
    for name, _, value in (line.partition("=") for line in settings.splitlines()):
        if re.search("auth|pass|token|user", name, re.IGNORECASE) and len(value.strip()) > _SHORTEST_SECRET:
            output = output.replace(value.strip(), "***")
    return re.sub(r"//[^/@\s]+@", "//***@", output)


def _failure(build: ImageBuild, status: int, output: str) -> AtelierError:
    # Without BuildKit's own lines, unless there are no others.
    lines = _OUTPUT.findall(output) or output.strip().splitlines() or [f"exit status {status}"]
    more: dict[str, Any] = {"output": last_of("\n".join(lines), _SHOWN_OUTPUT)}
    kind, code = ("template", Code.TEMPLATE_BUILD_FAILED) if build.template else ("image", Code.ENGINE_ERROR)
    named = {kind: build.template or build.tag}
    if status in TIMED_OUT:
        return AtelierError(code, Message(f"{kind}_too_long", seconds=build.seconds, **named), **more)
    if "no space left on device" in output:
        return AtelierError(Code.DISK_FULL, Message(f"{kind}_disk_full", **named), **more)
    reason = last_of(on_one_line("; ".join(lines[-_REASON_LINES:])), _LONGEST_REASON).rstrip(".")
    return AtelierError(code, Message(f"{kind}_failed", reason=reason, **named), **more)
