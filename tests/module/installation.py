"""An installation of Atelier for tests: its own instance on a real engine, driven by real ansible-playbook runs."""

from __future__ import annotations

import hmac
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import docker
from atelier.common.locks import Locks
from atelier.containers.container_names import read_names_key
from atelier.engine.client import _is_image_missing
from atelier.engine.parsing import IN_USE
from docker.errors import APIError, NotFound

from tests.module.processes import kill_with_descendants
from tests.waiting import PATIENCE_SECONDS, eventually

REPOSITORY = Path(__file__).parents[2]
PLAYBOOKS = REPOSITORY / "playbooks"
IDE_PORT = 8082


@dataclass
class Run:
    """One ended run of ansible-playbook. ``results`` are those of its tasks, in order."""

    returncode: int
    output: str
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        """The result of the last task of a module of ours."""
        ours = [entry["result"] for entry in self.results if "invocation" in entry["result"] and _is_ours(entry)]
        assert ours, self.output
        return dict(ours[-1])

    @property
    def seats(self) -> list[dict[str, Any]]:
        return list(self.result["seats"])

    @property
    def changed(self) -> bool:
        return bool(self.result["changed"])

    def succeeded(self) -> Run:
        assert self.returncode == 0, self.output
        return self

    def failed(self, code: str, field: str | None = None) -> dict[str, Any]:
        """Asserts the error's code and field, and that the message ends with its remedy; returns the result."""
        assert self.returncode != 0, self.output
        result = self.result
        assert result.get("error_code") == code, result
        assert result["details"].get("field") == field, result
        assert str(result["details"]["remedy"]) in result["msg"]
        return result


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return "site" in entry["result"]["invocation"].get("module_args", {})


class Installation:
    """A separate instance: name, state folder, part of the test network's range."""

    def __init__(self, name: str, folder: Path, subnet: str, network: str, engine_url: str, **variables: Any) -> None:
        self.name, self.folder, self.engine_url = name, folder, engine_url
        self.state = folder / "state"
        (folder / "tmp").mkdir(exist_ok=True)
        self.docker = docker.DockerClient(base_url=engine_url, timeout=300)
        self.variables: dict[str, Any] = {
            "atelier_instance": name,
            "atelier_state_dir": str(self.state),
            "atelier_engine_url": engine_url,
            "atelier_image_prefix": "atelier-test",
            "atelier_network_open_name": network,
            "atelier_network_open_subnet": subnet,
            "atelier_enable_proxy": False,
            "atelier_service_container_start_timeout": PATIENCE_SECONDS,
            **variables,
        }

    # --- Running --------------------------------------------------------------------------------------------------

    def start(
        self, playbook: str | Path, *flags: str, environment: Mapping[str, str] = {}, **variables: Any
    ) -> Started:
        """Starts a playbook of the repository (by name) or any other (by path), in a separate process group."""
        run_folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="run-"))
        vars_file = run_folder / "vars.json"
        vars_file.touch(mode=0o600)
        vars_file.write_text(json.dumps(self.variables | variables))
        path = playbook if isinstance(playbook, Path) else PLAYBOOKS / f"{playbook}.yml"
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(path), "-e", f"@{vars_file}", *flags]
        output = (run_folder / "output").open("w+b")
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**_environment(self.folder, run_folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return Started(process, run_folder, output)

    def play(self, playbook: str | Path, *flags: str, **variables: Any) -> Run:
        return self.start(playbook, *flags, **variables).wait()

    def write_task(self, module: str, **arguments: Any) -> Path:
        """A playbook of one task of the module, for what no playbook of the repository exposes."""
        return self._write_tasks(module, [arguments])

    def _write_tasks(self, module: str, orders: Sequence[Mapping[str, Any]], **keywords: Any) -> Path:
        tasks = [
            {"name": f"The {module} module", module: {"site": "{{ atelier_site }}", **order}, **keywords}
            for order in orders
        ]
        path = Path(tempfile.mkdtemp(dir=self.folder, prefix="task-")) / "task.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps([{"hosts": "localhost", "tasks": tasks}]))
        return path

    def tasks(self, module: str, orders: Sequence[Mapping[str, Any]], **keywords: Any) -> Run:
        """Several tasks of one module in one run, whose start takes longer than most of them."""
        return self.play(self._write_tasks(module, orders, **keywords))

    def failures(self, module: str, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The results of tasks of one module that are all to fail, in one run."""
        results = self.tasks(module, orders, ignore_errors=True).succeeded().results
        assert [entry["outcome"] for entry in results] == ["failed"] * len(orders)
        return [entry["result"] for entry in results]

    def task(self, module: str, *flags: str, variables: Mapping[str, Any] = {}, **arguments: Any) -> Run:
        return self.play(self.write_task(module, **arguments), *flags, **variables)

    def create(self, name: str = "Base", **variables: Any) -> dict[str, Any]:
        """A workspace made by its playbook."""
        values = {f"workspace_{key}": value for key, value in variables.items()}
        run = self.play("workspace_create", workspace_name=name, **values).succeeded()
        return dict(run.result["workspace"])

    def clone(self, *flags: str, **variables: Any) -> Run:
        return self.play("workspace_clone", *flags, **{f"clone_{key}": value for key, value in variables.items()})

    # --- Holding up -----------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, id: str) -> Iterator[None]:
        """Holds a workspace's lock, like another operation."""
        with Locks(self.state).workspace(id, PATIENCE_SECONDS):
            yield

    @contextmanager
    def newest_held(self, count: int) -> Iterator[None]:
        """Waits until there are so many workspaces, and holds the newest: a clone of that many can't end meanwhile."""
        rows = eventually(lambda: len(rows := self.rows()) >= count and rows, f"{count} workspaces are reserved")
        with self.held(rows[-1]["id"]):
            yield

    # --- Looking --------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        path = self.state / "registry.sqlite3"
        if not path.exists():
            return []
        with sqlite3.connect(path) as db:
            db.row_factory = sqlite3.Row
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'workspaces'").fetchone():
                return []  # it is being made at this moment
            return [dict(row) for row in db.execute("SELECT * FROM workspaces ORDER BY sequence")]

    def row(self, name: str) -> dict[str, Any]:
        (row,) = (row for row in self.rows() if row["name"] == name)
        return row

    def open_batches(self) -> int:
        with sqlite3.connect(self.state / "registry.sqlite3") as db:
            return int(db.execute("SELECT count(*) FROM batches").fetchone()[0])

    def set_row(self, name: str, **values: Any) -> None:
        with sqlite3.connect(self.state / "registry.sqlite3") as db:
            for column, value in values.items():
                db.execute(f"UPDATE workspaces SET {column} = ? WHERE name = ?", (value, name))  # noqa: S608

    def public_name(self, workspace: Mapping[str, Any]) -> str:
        """The name that replaces the workspace's id where other seats may read it."""
        key = read_names_key(self.state)
        assert key is not None
        return hmac.digest(key, workspace["id"].encode(), "sha256").hex()[:12]

    def container_name(self, workspace: Mapping[str, Any]) -> str:
        return f"{self.name}-seat-{self.public_name(workspace)}"

    def volume_name(self, workspace: Mapping[str, Any]) -> str:
        return f"{self.name}-{workspace['id']}"

    def container(self, workspace: Mapping[str, Any]) -> Any:
        return self.docker.containers.get(self.container_name(workspace))

    def containers(self) -> list[Any]:
        return list(self.docker.containers.list(all=True, filters=self._ours, ignore_removed=True))

    def volumes(self) -> list[str]:
        return sorted(volume.name for volume in self.docker.volumes.list(filters=self._ours))

    @property
    def _ours(self) -> dict[str, str]:
        return {"label": f"atelier.instance={self.name}"}

    def snapshots(self) -> list[Any]:
        """Images of this instance's snapshots: by their label, or by a tag in its repository."""
        found = []
        for summary in self.docker.api.images(all=True):
            labels, tags = summary["Labels"] or {}, summary["RepoTags"] or []
            ours = labels.get("atelier.instance") == self.name
            if ours or any(tag.startswith(f"{self.name}/snapshot:") for tag in tags):
                try:
                    found.append(self.docker.images.get(summary["Id"]))
                except APIError as error:  # they come and go
                    if not _is_image_missing(error):
                        raise
        return found

    def snapshot_tags(self) -> list[str]:
        """Without the name that keeps an image below a stopped container; it goes with the container."""
        return [tag for image in self.snapshots() for tag in image.tags if not tag.startswith(f"{IN_USE}:")]

    def routes(self) -> dict[str, str]:
        path = self.state / "gateway" / "routes.map"
        return dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}

    def is_tidy(self, names: Sequence[str]) -> None:
        """Asserts that exactly these workspaces exist, in database, engine and routes alike, and nothing beside."""
        rows = self.rows()
        assert sorted(row["name"] for row in rows) == sorted(names)
        assert len({row["address"] for row in rows}) == len(rows)
        assert {container.name for container in self.containers()} == {self.container_name(row) for row in rows}
        assert len(self.containers()) == len(rows)
        assert self.volumes() == sorted(self.volume_name(row) for row in rows)
        assert self.routes() == {row["id"]: row["address"] for row in rows}
        assert self.snapshot_tags() == []
        used = {container.attrs["Image"] for container in self.containers()}
        assert [image.id for image in self.snapshots() if image.id not in used] == []
        journals = self.state / "snapshots"
        assert not journals.exists() or list(journals.iterdir()) == []

    def read(self, workspace: Mapping[str, Any], path: str) -> bytes:
        """A file in the container, running or not, by the engine's own copy."""
        import io
        import tarfile

        stream, _ = self.container(workspace).get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile(archive.next())  # type: ignore[arg-type]
            assert file is not None
            return file.read()

    def run_inside(self, workspace: Mapping[str, Any], script: str) -> str:
        """The output of a shell script in the container, as its user."""
        code, output = self.container(workspace).exec_run(["sh", "-c", script])
        assert code == 0, output.decode()
        return str(output.decode().strip())

    # --- Cleaning up ----------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Takes away everything that carries this instance's label, whatever state it is in."""
        for container in self.containers():
            with suppress(NotFound, APIError):
                container.remove(force=True, v=True)
        for volume in self.volumes():
            with suppress(NotFound, APIError):
                self.docker.volumes.get(volume).remove(force=True)
        for image in self.snapshots():
            with suppress(NotFound, APIError):
                self.docker.images.remove(image.id, force=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.docker.close()


class Started:
    """A playbook that is running."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, output: Any) -> None:
        self.process, self._folder, self._output = process, folder, output

    def wait(self, seconds: float = 300) -> Run:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the playbook did not end:\n{self._read()}") from None
        path = self._folder / "results"
        lines = path.read_text().splitlines() if path.exists() else []
        return Run(self.process.returncode, self._read(), [json.loads(line) for line in lines])

    def kill(self) -> bool:
        """kill -9 for ansible-playbook, its workers and the module: a worker leaves the process group, so all of the
        session's descendants are looked up. Returns whether the playbook still ran."""
        ran = self.process.poll() is None
        kill_with_descendants(self.process.pid)
        self.process.wait(30)
        return ran

    def _read(self) -> str:
        self._output.seek(0)
        return str(self._output.read().decode(errors="replace"))


def _environment(folder: Path, run_folder: Path) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return kept | {
        # Killed processes leave temporary files in the installation's folder, where they are searched and removed.
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_CALLBACK_PLUGINS": f"{REPOSITORY / 'plugins/callback'}:{Path(__file__).parent / 'callbacks'}",
        "ANSIBLE_CALLBACKS_ENABLED": "results",
        "ATELIER_TEST_RESULTS": str(run_folder / "results"),
    }


@contextmanager
def occupied(site: Installation, network: str, address: str, offset: int) -> Iterator[None]:
    """A stranger's container holds the address that comes so many after this one, as the next seats will be given."""
    taken = str(IPv4Address(address) + offset)
    endpoint = site.docker.api.create_endpoint_config(ipv4_address=taken)
    made = site.docker.api.create_container(
        "atelier-test/workspace:empty",
        entrypoint=["sleep", "infinity"],
        host_config=site.docker.api.create_host_config(network_mode=network),
        networking_config=site.docker.api.create_networking_config({network: endpoint}),
    )
    try:
        site.docker.api.start(made["Id"])
        yield
    finally:
        site.docker.api.remove_container(made["Id"], force=True)


# --- The IDE as a browser meets it ------------------------------------------------------------------------------------


def is_healthy(address: str) -> bool:
    return request(address, "GET", "/healthz")[0] == 200


def login(address: str, password: str) -> bool:
    """Whether the IDE's login form lets one in with the password."""
    body = urllib.parse.urlencode({"password": password, "base": ".", "href": f"http://{address}:{IDE_PORT}/login"})
    status, headers = request(address, "POST", "/login", body)
    assert status in (200, 302), status
    return status == 302 and "code-server-session" in headers.get("set-cookie", "")


def session_cookie(address: str, password: str) -> str:
    """Signs in with the password; returns name and value of the IDE's cookie, as a browser sends it."""
    body = urllib.parse.urlencode({"password": password, "base": ".", "href": f"http://{address}:{IDE_PORT}/login"})
    _, headers = request(address, "POST", "/login", body)
    return headers["set-cookie"].partition(";")[0]


def opens(address: str, cookie: str) -> bool:
    """Whether the IDE accepts that cookie."""
    status, headers = request(address, "GET", "/", cookie=cookie)
    assert status in (200, 302), status
    return "login" not in headers.get("location", "")


def asks_for_password(address: str) -> bool:
    status, headers = request(address, "GET", "/")
    assert status in (200, 302), status
    return "login" in headers.get("location", "")


def request(
    address: str, method: str, path: str, body: str | None = None, cookie: str = ""
) -> tuple[int, dict[str, str]]:
    # To check a password takes a busy machine its time.
    connection = http.client.HTTPConnection(address, IDE_PORT, timeout=60 if body else 10)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    if cookie:
        headers["Cookie"] = cookie
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, {key.lower(): value for key, value in response.getheaders()}
    except OSError:
        return 0, {}
    finally:
        connection.close()
