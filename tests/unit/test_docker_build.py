"""Building an image, with a stand-in of Docker's command line: progress, deadline, and errors without secrets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.engine.build import build_image
from atelier.engine.models import ImageBuild

STEPS = """
#1 [internal] load build definition from Dockerfile
#5 [1/2] FROM docker.io/test/ide:1
#6 [stage-0 2/2] RUN --mount=type=bind,target=/template
#6 0.5 added 60 packages
"""


@pytest.fixture
def build(tmp_path: Path) -> ImageBuild:
    secrets = {"npmrc": tmp_path / "npmrc", "pip_conf": tmp_path / "pip.conf"}
    return ImageBuild("test/workspace:x", tmp_path, "FROM y\n", {"a.b": "c d"}, secrets, 60, template="x")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program ``docker``; it does what is written into the file."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def act(docker: Path, script: str) -> None:
    docker.write_text(f"#!/bin/sh\n{script}\n")


def failure(build: ImageBuild) -> AtelierError:
    with pytest.raises(AtelierError) as error:
        build_image("unix:///d", build, lambda *_: None)
    return error.value


def test_what_docker_is_told_and_what_it_tells(build: ImageBuild, docker: Path, tmp_path: Path) -> None:
    act(docker, f"printf '%s\\n' \"$@\" >{tmp_path}/words\ncat >{tmp_path}/dockerfile\ncat <<'END'\n{STEPS}\nEND")
    build.secrets["npmrc"].write_text("")
    reported: list[tuple[int, int]] = []
    build_image("unix:///d", build, lambda seconds, done, total: reported.append((done, total)))
    assert (tmp_path / "words").read_text().splitlines() == [
        *("--host", "unix:///d", "build", "--progress=plain", "--file=-", "--tag=test/workspace:x"),
        # The file that does not exist is left out.
        *("--label=a.b=c d", "--secret", f"id=npmrc,type=file,src={tmp_path}/npmrc", str(tmp_path)),
    ]
    assert (tmp_path / "dockerfile").read_text() == "FROM y\n"
    assert reported[-1] == (1, 2)


def test_an_image_of_the_platform(build: ImageBuild, docker: Path, tmp_path: Path) -> None:
    act(docker, f"printf '%s\\n' \"$@\" BUILDKIT=$DOCKER_BUILDKIT >{tmp_path}/words; cat >/dev/null")
    file = tmp_path / "folder" / "Dockerfile"
    image = replace(build, tag="test/ide:1", dockerfile=file, args={"BASE": "x:1"}, template="")
    build_image("unix:///d", image, lambda *_: None)
    words = (tmp_path / "words").read_text().splitlines()
    assert {f"--file={file}", "--build-arg=BASE=x:1", "BUILDKIT=1"} <= set(words)
    act(docker, "echo '#6 1.0 no such package'\nexit 1")
    error = failure(image)
    assert (error.code, error.message) == (
        Code.ENGINE_ERROR,
        "The image test/ide:1 could not be built: no such package.",
    )


def test_a_failure_says_why_and_holds_no_credential(build: ImageBuild, docker: Path) -> None:
    build.secrets["npmrc"].write_text("//r.example/:_authToken=canary-token\nalways-auth=true\n")
    build.secrets["pip_conf"].write_text("[global]\nindex-url = https://ann:canary-word@pip.example/simple\n")
    act(
        docker,
        f"cat <<'END'\n{STEPS}\n#6 1.0 npm error 404 https://ann:canary-word@pip.example/simple/react canary-token\n"
        "ERROR: failed to solve: exit code: 1\nEND\nexit 1",
    )
    error = failure(build)
    assert error.code is Code.TEMPLATE_BUILD_FAILED
    assert "could not be built: added 60 packages; npm error 404 https://***@pip.example/simple/react" in error.message
    assert str(error.details["output"]).startswith("added 60 packages\nnpm error 404")
    assert "canary" not in str(error) + str(error.details)


def test_a_failure_before_the_first_step_says_why(build: ImageBuild, docker: Path) -> None:
    act(docker, "exec 0<&-\necho 'ERROR: cannot connect to the daemon'\nexit 1")
    assert failure(build).message == "The template 'x' could not be built: ERROR: cannot connect to the daemon."


def test_a_full_disk_is_called_that(build: ImageBuild, docker: Path) -> None:
    act(docker, "echo '#6 1.0 write /x: no space left on device'\nexit 1")
    assert failure(build).code is Code.DISK_FULL


def test_a_build_has_a_deadline(build: ImageBuild, docker: Path) -> None:
    act(docker, "sleep 60")
    error = failure(replace(build, seconds=0.2))
    assert (error.code, error.message) == (
        Code.TEMPLATE_BUILD_FAILED,
        "The template 'x' was not built within 0.2 seconds.",
    )


def test_without_the_program_the_error_names_it(
    build: ImageBuild, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timeout").symlink_to("/usr/bin/timeout")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "docker" in failure(build).message
