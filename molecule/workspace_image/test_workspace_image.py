"""Seats from the built images, started as Atelier starts them: their responses, refusals, files and leaks."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import docker
import pytest
import yaml
from argon2 import PasswordHasher
from atelier.engine.build import build_image
from atelier.engine.models import ImageBuild
from conftest import PROJECT, playbook
from docker.models.containers import Container
from docker.models.images import Image

from tests.waiting import eventually

FIRST, SECOND = "correct horse", "battery staple"
HASHER = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
OPEN = "auth: none\ncert: false\n"


def protected(password: str) -> str:
    return f'auth: password\nhashed-password: "{HASHER.hash(password)}"\ncert: false\n'


@pytest.fixture(scope="module")
def client(site: dict[str, Any]) -> Iterator[docker.DockerClient]:
    engine = docker.DockerClient(base_url=site["engine_url"])
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def image(client: docker.DockerClient, site: dict[str, Any]) -> Image:
    found: Image = client.images.get(f"{site['image_prefix']}/workspace:empty")
    return found


class Seat:
    """A container of the image, with a volume for its config file."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def configure(self, text: str) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("config.yaml")
            member.size, member.mode, member.uid, member.gid = len(text), 0o640, 0, 1000
            tar.addfile(member, io.BytesIO(text.encode()))
        self.container.put_archive("/etc/code-server", archive.getvalue())

    def start(self) -> Seat:
        self.container.start()
        self.container.reload()
        return self

    def restart(self) -> Seat:
        self.container.restart(timeout=0)
        self.container.reload()
        return self

    def request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        address = self.container.attrs["NetworkSettings"]["IPAddress"]
        with closing(http.client.HTTPConnection(address, 8082, timeout=10)) as connection:
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def await_ready(self) -> None:
        def is_ready() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.request("GET", "/healthz")[0] == 200
            return False

        eventually(is_ready, "the IDE answers")

    def accepts(self, password: str) -> bool:
        status, _ = self.request("POST", "/login", urlencode({"password": password}))
        return status == 302

    def run(self, *command: str) -> str:
        code, output = self.container.exec_run(list(command))
        assert isinstance(output, bytes)
        assert code == 0, output
        return output.decode().strip()

    def pid(self) -> str:
        return self.run("cat", "/dev/shm/workspace-ide.pid")  # noqa: S108

    def logs(self) -> str:
        text: bytes = self.container.logs()
        return text.decode()


@pytest.fixture(scope="module")
def make(client: docker.DockerClient, site: dict[str, Any], image: Image) -> Iterator[Callable[..., Seat]]:
    """Makes seats with the hardening of real ones; they and their volumes are removed at the end."""
    made: list[tuple[Container, Any]] = []

    def make(config: str | None = OPEN, image: Image = image, **options: Any) -> Seat:
        labels = {"atelier.instance": site["instance"]}
        volume = client.volumes.create(labels=labels)
        container = client.containers.create(
            image,
            labels=labels,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            volumes={volume.name: {"bind": "/etc/code-server"}},
            **options,
        )
        made.append((container, volume))
        seat = Seat(container)
        if config is not None:
            seat.configure(config)
        return seat

    yield make
    for container, volume in made:
        container.remove(force=True)
        volume.remove()


@pytest.fixture(scope="module")
def seat(make: Callable[..., Seat]) -> Seat:
    started = make(protected(FIRST)).start()
    started.await_ready()
    return started


def test_the_hardening_holds(seat: Seat) -> None:
    status = seat.run("cat", "/proc/1/status")
    assert "Uid:\t1000\t1000\t1000\t1000\n" in status
    assert "CapEff:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert seat.run("id", "-Gn") == "coder"


def test_nobody_reserves_the_disk(seat: Seat) -> None:
    """All that the IDE starts has the filter, and under the filter only writing takes space."""
    of_the_ide = "cat /proc/$(cat /dev/shm/workspace-ide.pid)/status"
    code, output = seat.container.exec_run(["sh", "-c", of_the_ide])
    assert (code, "Seccomp_filters:\t2\n" in output.decode()) == (0, True), output
    written = "import os; file = open('/tmp/x', 'wb'); os.posix_fallocate(file.fileno(), 0, 1 << 20)"
    for command, works in (
        ("fallocate -l 1M /tmp/y", False),
        ("fallocate -n -l 1M /tmp/x", False),
        (f'python3 -c "{written}"', True),
        ("fallocate -p -o 0 -l 4096 /tmp/x", True),
    ):
        filtered = "setpriv --no-new-privs --seccomp-filter /usr/local/lib/atelier/reservation.bpf"
        code, output = seat.container.exec_run(["sh", "-c", f"touch /tmp/x; exec {filtered} {command}"])
        assert (code == 0) is works, output


def test_it_answers_about_its_health(seat: Seat) -> None:
    status, body = seat.request("GET", "/healthz")
    assert status == 200
    assert "lastHeartbeat" in json.loads(body)


def test_only_the_right_password_opens(seat: Seat) -> None:
    assert seat.request("GET", "/")[0] == 302
    assert not seat.accepts("wrong")
    assert not seat.accepts("")
    assert seat.accepts(FIRST)


def test_its_sign_in_page_says_which_password(seat: Seat) -> None:
    status, page = seat.request("GET", "/login")
    assert status == 200
    assert "Enter the password of this workspace." in page and "config file" not in page


def test_its_user_reads_the_config_but_cannot_change_it(seat: Seat) -> None:
    assert "hashed-password" in seat.run("cat", "/etc/code-server/config.yaml")
    attempts = [
        "echo >>config.yaml",
        "mv config.yaml other",
        "rm -f config.yaml",
        "touch new",
        "chmod 0666 config.yaml",
    ]
    for attempt in attempts:
        code, _ = seat.container.exec_run(["sh", "-c", f"cd /etc/code-server && {attempt}"])
        assert code != 0, attempt


def test_a_new_password_after_a_restart(make: Callable[..., Seat]) -> None:
    """Nothing that the seat's user left behind runs then, whatever it is called."""
    seat = make(protected(FIRST)).start()
    seat.await_ready()
    trap = "mkdir -p ~/.local/bin; cd ~/.local/bin; printf '#!/bin/sh\\nexec sleep 1000\\n' >trap; chmod +x trap"
    for name in ("load-git-credential", "setsid", "node", "rm", "sleep", "kill", "cp", "sh", "cat", "git", "ps", "ip"):
        trap += f"; ln -s trap {name}"
    seat.run("/bin/sh", "-c", trap)
    seat.container.exec_run(["/usr/bin/setsid", "/usr/bin/sleep", "1000"], detach=True)
    seat.configure(protected(SECOND))
    seat.restart()
    seat.await_ready()
    assert not seat.accepts(FIRST)
    assert seat.accepts(SECOND)
    assert "sleep" not in str(seat.container.top(ps_args="-o pid,args")["Processes"])


def test_a_config_that_is_replaced_during_the_start(make: Callable[..., Seat]) -> None:
    """The file is missing for moments then; the container must not end for that, nor start an IDE without it."""
    for delay in (0, 0.02, 0.05, 0.1, 0.2):
        seat = make(protected(FIRST)).start()
        time.sleep(delay)
        for _ in range(10):
            seat.configure(protected(SECOND))
        assert seat.restart().container.attrs["RestartCount"] == 0
        seat.await_ready()
        assert seat.accepts(SECOND), delay
        assert not seat.accepts(FIRST), delay


def test_a_config_that_comes_late_is_waited_for(make: Callable[..., Seat]) -> None:
    seat = make(config=None).start()
    time.sleep(0.5)
    seat.configure(OPEN)
    seat.await_ready()


def test_an_ide_that_dies_comes_back(make: Callable[..., Seat]) -> None:
    seat = make().start()
    seat.await_ready()
    before = seat.pid()
    seat.container.exec_run(["kill", "-KILL", before])
    seat.await_ready()
    assert seat.pid() != before
    assert "code-server ended with status 137" in seat.logs()


def test_a_config_that_code_server_refuses_does_not_burn_the_cpu(make: Callable[..., Seat]) -> None:
    seat = make("auth: password\ncert: false\n").start()
    log = eventually(lambda: "again in 8 s" in (log := seat.logs()) and log, "the fifth ending")
    assert log.count("code-server ended with status") == len((0, 1, 2, 4, 8))
    assert "Please pass in a password" in log
    # A mended config is read after a restart at once, not after the pause.
    seat.configure(OPEN)
    pauses = seat.logs().count("again in")
    seat.restart()
    seat.await_ready()
    assert seat.logs().count("again in") == pauses


def test_without_its_config_it_ends(make: Callable[..., Seat]) -> None:
    seat = make(config=None).start()
    assert seat.container.wait(timeout=120)["StatusCode"] == 78
    assert "config.yaml is missing" in seat.logs()


def test_it_stops_at_once(make: Callable[..., Seat]) -> None:
    seat = make().start()
    seat.await_ready()
    # With a page's helpers, too.
    assert seat.request("GET", "/")[0] in (200, 302)
    # A process that does not stop is killed after that time, and ends with 137.
    seat.container.stop(timeout=10)
    assert seat.container.wait()["StatusCode"] in (0, 143)


def test_the_compile_cache_is_read_and_not_written(make: Callable[..., Seat]) -> None:
    seat = make(environment={"NODE_DEBUG_NATIVE": "COMPILE_CACHE"}).start()
    seat.await_ready()
    read = [line for line in seat.logs().splitlines() if "reading cache from" in line and "workspace-ide.js" in line]
    assert read
    assert all("success" in line for line in read)
    written = {str(change["Path"]) for change in seat.container.diff()}
    assert not [path for path in written if path.startswith(("/opt", "/usr", "/etc"))]


def test_the_workspace_is_a_repository_with_one_commit(seat: Seat) -> None:
    assert seat.run("git", "log", "--format=%an <%ae>").splitlines() == ["Atelier <atelier@localhost>"]
    assert seat.run("git", "status", "--porcelain", "--branch") == "## main"
    assert seat.run("pwd") == "/workspace"
    # Nobody's name is taken for the user's: git asks.
    code, output = seat.container.exec_run(["git", "commit", "--allow-empty", "-m", "mine"])
    assert code != 0
    assert b"Please tell me who you are" in output
    assert seat.container.exec_run(["git", "log"], user="root")[0] == 0


@pytest.mark.parametrize(
    "program", ["bash", "git", "curl", "python3", "pip3", "node", "npm", "ps", "less", "nano", "ssh"]
)
def test_tools_of_a_terminal(seat: Seat, program: str) -> None:
    seat.run("sh", "-c", f"command -v {program}")


def test_a_virtual_environment_and_a_global_npm_package_need_no_root(seat: Seat) -> None:
    seat.run("python3", "-m", "venv", "/tmp/venv")  # noqa: S108
    assert seat.run("npm", "config", "get", "prefix") == "/home/coder/.local"


def test_the_command_of_a_terminal_finds_its_node(seat: Seat) -> None:
    """The command `code-server` of a terminal is a script of VS Code's, run with the environment of the IDE."""
    command = "/opt/code-server/lib/node_modules/code-server/lib/vscode/bin/remote-cli/code-server --version"
    environment = f"export $(tr '\\0' '\\n' </proc/{seat.pid()}/environ | grep NODE_EXEC_PATH)"
    assert "inside a Visual Studio Code terminal" in seat.run("sh", "-c", f"{environment}; {command}")


def test_extensions_install(seat: Seat) -> None:
    """Installs the smallest possible extension, from a file, since a marketplace may be unreachable here."""
    build = """
import zipfile
with zipfile.ZipFile('/tmp/probe.vsix', 'w') as vsix:
    vsix.writestr('extension/package.json',
        '{"name": "probe", "publisher": "atelier", "version": "1.0.0", "engines": {"vscode": "*"}}')
"""
    seat.run("python3", "-c", build)
    seat.run("code-server", "--install-extension", "/tmp/probe.vsix")  # noqa: S108
    assert "atelier.probe" in seat.run("code-server", "--list-extensions")


def test_images_hold_nothing_of_the_host(client: docker.DockerClient, site: dict[str, Any], image: Image) -> None:
    assert image.labels["atelier.image"] == "workspace"
    assert image.labels["atelier.template"] == "empty"
    names = {variable.partition("=")[0] for variable in image.attrs["Config"]["Env"]}
    assert names == {"PATH", "LANG", "SHELL"}
    assert client.images.get(f"{site['image_prefix']}/base:trixie").labels["atelier.image"] == "base"
    history = json.dumps(image.history()) + json.dumps(image.attrs["Config"])
    hosts_own = [Path.home() / ".npmrc", Path("/etc/pip.conf")]
    for settings in hosts_own:
        values = (
            [line.partition("=")[2].strip() for line in settings.read_text().splitlines()] if settings.exists() else []
        )
        # A path of Debian's own is no secret, and a flag is no value.
        assert not [
            value for value in values if len(value) > 5 and not value.startswith("/etc/ssl/") and value in history
        ]
    seen = client.containers.run(
        image,
        ["-c", "ls /etc/pip.conf /home/coder/.npmrc /root/.npmrc /run/secrets 2>/dev/null; true"],
        entrypoint=["sh"],
        network_mode="none",
        remove=True,
    )
    assert seen == b""


# What takes its time in a template's preparation; no other process has these words.
PREPARES = "sleep 8.0625"


def processes_naming(text: str) -> list[int]:
    """Ids of the processes with the text in their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.fixture
def template(client: docker.DockerClient, site: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    """A template of the site's own, outside the role; its image is removed at the end."""
    folder = tmp_path / "templates" / "molecule-probe"
    (folder / "skeleton").mkdir(parents=True)
    (folder / "skeleton" / "hello.txt").write_text("hello\n")
    (folder / "image").write_text("RUN touch /etc/probe\n")
    # Never from the cache of an earlier test.
    (folder / "prepare.sh").write_text(f"# {tmp_path} {time.time()}\n{PREPARES}\necho prepared >prepared.txt\n")
    yield folder
    with contextlib.suppress(docker.errors.ImageNotFound):
        client.images.remove(f"{site['image_prefix']}/workspace:{folder.name}")


def test_a_sites_template_and_a_run_that_was_killed(
    client: docker.DockerClient, site: dict[str, Any], template: Path
) -> None:
    name = f"{site['image_prefix']}/workspace:{template.name}"
    variables = {"atelier_templates": [template.name], "atelier_template_dirs": [str(template.parent)]}
    run = partial(playbook, Path(__file__).with_name("converge.yml"), "--extra-vars", json.dumps(variables))

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(run)
        eventually(lambda: processes_naming(PREPARES.replace(" ", "\0")) or killed.done(), "the template is prepared")
        for pid in processes_naming(f"{site['image_prefix']}/workspace:{template.name}") + processes_naming(
            str(template.parent)
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert killed.result().returncode != 0
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(name)

    second = run()
    assert second.returncode == 0, second.stdout
    files = client.containers.run(
        name, ["-c", "cat hello.txt prepared.txt; ls /etc/probe; git status --short"], entrypoint=["sh"], remove=True
    )
    assert files.decode().split() == ["hello", "prepared", "/etc/probe"]
    third = run()
    assert "0 changed" in third.stdout, third.stdout

    (template / "skeleton" / "hello.txt").write_text("changed\n")
    assert run().returncode == 0
    assert client.containers.run(name, ["hello.txt"], entrypoint=["cat"], remove=True) == b"changed\n"


@pytest.fixture(scope="module")
def release(
    client: docker.DockerClient, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """URL and checksum of a release archive, packed from what npm installed in the image, with a Node and a script that
    starts it."""
    folder = tmp_path_factory.mktemp("release")
    pack = """
        cd /opt/code-server/lib/node_modules
        mkdir code-server/bin
        cp /opt/node/bin/node code-server/lib/node
        echo 'exec lib/node' >code-server/bin/code-server
        tar -c code-server | gzip -1 >/release/code-server.tar.gz
    """
    client.containers.run(
        image,
        ["-ec", pack],
        entrypoint=["sh"],
        user="root",
        network_mode="none",
        volumes=[f"{folder}:/release"],
        remove=True,
    )
    with (folder / "code-server.tar.gz").open("rb") as archive:
        checksum = hashlib.file_digest(archive, "sha256").hexdigest()
    host = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    server = ThreadingHTTPServer((host, 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=server.serve_forever).start()
    yield f"http://{host}:{server.server_port}/code-server.tar.gz", checksum
    server.shutdown()
    server.server_close()


def test_a_release_archive_makes_the_same_image(
    client: docker.DockerClient,
    site: dict[str, Any],
    image: Image,
    release: tuple[str, str],
    make: Callable[..., Seat],
) -> None:
    of_role = yaml.safe_load((PROJECT / "roles/workspace_image/defaults/main.yml").read_text())
    inventory = yaml.safe_load((PROJECT / "inventory/group_vars/all/platform.yml").read_text())
    tag, context = f"{site['image_prefix']}/molecule-ide:archive", PROJECT / "roles/workspace_image/files/ide"
    build = ImageBuild(
        tag,
        context,
        context / "Dockerfile",
        labels={},
        secrets={"npmrc": Path.home() / ".npmrc", "pip_conf": Path("/etc/pip.conf")},
        seconds=580,
        args={
            "BASE": f"{site['image_prefix']}/base:trixie",
            "NODE_VERSION": of_role["atelier_workspace_image_node_version"],
            "ESBUILD_VERSION": of_role["atelier_workspace_image_esbuild_version"],
            "CODE_SERVER_VERSION": inventory["atelier_workspace_image_code_server_version"],
            "CODE_SERVER_FROM": "archive",
            "CODE_SERVER_URL": release[0],
            "CODE_SERVER_SHA256": release[1],
        },
    )
    build_image(site["engine_url"], build, lambda *_: None)
    made = client.images.get(tag)
    seat = make(protected(FIRST), image=made).start()
    try:
        seat.await_ready()
        assert seat.accepts(FIRST)
        assert {*made.attrs["Config"]["Env"]} == {*image.attrs["Config"]["Env"]}
        files = "cd /opt && find . -path ./code-server/compile-cache -prune -o -print | sort"
        by_npm = client.containers.run(image, ["-c", files], entrypoint=["sh"], network_mode="none", remove=True)
        assert seat.run("sh", "-c", files) == by_npm.decode().strip()
    finally:
        seat.container.kill()
        client.images.remove(tag, force=True)


def test_a_release_archive_with_another_checksum_is_refused(site: dict[str, Any], release: tuple[str, str]) -> None:
    """And the image stays as it was."""
    url, checksum = release
    variables = {
        "atelier_image_prefix": site["image_prefix"],
        "atelier_templates": [],
        "atelier_workspace_image_code_server_archive": {"url": url, "sha256": "0" * 64},
    }
    refused = playbook(Path(__file__).with_name("converge.yml"), "--extra-vars", json.dumps(variables))
    assert refused.returncode != 0
    assert f"{url} has the SHA-256 checksum {checksum} instead of {'0' * 64}" in refused.stdout
    assert "atelier_workspace_image_code_server_archive" in refused.stdout
