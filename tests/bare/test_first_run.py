"""The README's first command and a restore on bare machines: Debian as installed, without Docker and without Python."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import docker
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.installed import ROOT

pytestmark = pytest.mark.timeout(3600)
NAME = "atelier-bare"
SUBNET = "172.20.115.0/24"
RELEASES = ["bookworm", "trixie"]
# What the commands before the README's first need.
PACKAGES = "ca-certificates,git"
# The host's own settings of the package managers, which a site's machines have.
SETTINGS = ["/etc/pip.conf", "/root/.npmrc"]
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
CHECKOUT = "/srv/atelier"
PYTHON = f"{CHECKOUT}/.venv/bin/python"
# A disk that each machine has.
BACKUPS = "/mnt/backup"
PASSWORD = "/etc/atelier/backup.password"
# Docker trusts one on this machine without TLS.
REGISTRY = "localhost:5000"
REGISTRY_SETTINGS = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": REGISTRY},
}
# A resolver that knows *.localhost is no part of a bare machine.
ASK = """
import http.client, sys
host, path, kind, body = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1")
connection.request("POST" if body else "GET", path, body or None, {"Host": host, "Content-Type": kind})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
WORK = (
    "cd /workspace && echo more >>work && git add work && git commit -qm work && git push -q && echo late >uncommitted"
)
ROWS = """
import sqlite3
db = sqlite3.connect("/var/lib/atelier/registry.sqlite3")
db.row_factory = sqlite3.Row
for table in ("workspaces", "claims", "aliases"):
    for row in map(dict, db.execute(f"SELECT * FROM {table} ORDER BY 1")):
        # What happened lately.
        print(table, {name: value for name, value in row.items() if name not in ("orders", "last_activity")})
"""
# What a backup must bring to another machine, by the commands that show it.
KEPT = {
    "addresses and passwords": "cat /var/lib/atelier/workshop-*.csv",
    "rows": f"{PYTHON} -c {shlex.quote(ROWS)}",
    "branches": r"""
for head in $(find /var/lib/atelier/git/data -name HEAD | sort); do
  echo "$head" && git -c safe.directory='*' --git-dir "${head%/HEAD}" for-each-ref
done""",
    # Modes, owners, contents, commits in .git; without code-server's own notes of its last start.
    "files": r"""
seats=$(docker ps --filter label=atelier.workspace --format '{{.Label "atelier.workspace"}} {{.ID}}' | sort)
echo "$seats" | while read -r id seat; do
  echo "$id" && docker exec --user coder "$seat" find /workspace /home/coder -path '*/share/code-server' -prune -o \
    -printf '%M %U %p %l\n' -type f -exec sha256sum {} + | sort
done""",
}


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A bare machine; removed with all that it was made of afterwards."""
    release, folder = str(request.param), tmp_path_factory.mktemp(str(request.param))
    engine = docker.from_env(timeout=600)
    _remove(engine)
    engine.api.import_image(src=str(_root_file_system(release, folder)), repository=NAME, tag=release)
    engine.networks.create(NAME, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)]))
    try:
        yield _bare_machine(engine, release, folder)
    finally:
        _remove(engine)


@pytest.fixture
def other_machine(machine: Container, tmp_path: Path) -> Iterator[Container]:
    """Another one of the same release, with the same disk for backups."""
    release = machine.image.tags[0].rpartition(":")[2]
    other = _bare_machine(docker.from_env(timeout=600), release, tmp_path)
    try:
        yield other
    finally:
        other.remove(force=True, v=True)


def _bare_machine(engine: docker.DockerClient, release: str, folder: Path) -> Container:
    """A privileged container with the release's root file system and the checkout in it."""
    container = engine.containers.run(
        f"{NAME}:{release}",
        ["sleep", "infinity"],
        labels=[NAME],
        detach=True,
        init=True,
        privileged=True,
        network=NAME,
        # overlayfs does not stack.
        volumes=["/var/lib/docker", f"{NAME}:{BACKUPS}"],
        tmpfs={"/run": "", "/tmp": ""},  # noqa: S108 - a folder of the container
    )
    container.put_archive("/", _what_a_user_brings(folder))
    _run(container, "cp /authorities.crt /usr/local/share/ca-certificates/host.crt && update-ca-certificates")
    _run(container, f"git clone --quiet /atelier.bundle {CHECKOUT}")
    return container


def _root_file_system(release: str, folder: Path) -> Path:
    tarball = folder / "rootfs.tar"
    mirrors = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"),
            *("Created-By: Packages", "Origin: Debian", "Component: main"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    sources = {re.sub(r"\b(bookworm|trixie)\b", release, line) for line in mirrors.stdout.splitlines()}
    command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(tarball), *sorted(sources)]
    subprocess.run(command, check=True, capture_output=True)
    return tarball


def _what_a_user_brings(folder: Path) -> bytes:
    """The repository to clone, and what the site has on its machines."""
    bundle = folder / "atelier.bundle"
    subprocess.run(["git", "-C", str(ROOT), "bundle", "create", "--quiet", str(bundle), "HEAD"], check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(bundle, "atelier.bundle")
        archive.add(AUTHORITIES, "authorities.crt")
        for file in filter(lambda file: Path(file).exists(), SETTINGS):
            archive.add(file, file.lstrip("/"))
    return buffer.getvalue()


def _run(machine: Container, script: str) -> str:
    """Returns what the script says; it must succeed."""
    status, output = machine.exec_run(["sh", "-c", script])
    said = str(output.decode(errors="replace"))
    assert status == 0, f"{script}\n{said[-6000:]}"
    return said


def _remove(engine: docker.DockerClient) -> None:
    for container in engine.containers.list(all=True, filters={"label": NAME}):
        container.remove(force=True, v=True)
    for volume in engine.volumes.list(filters={"name": f"^{NAME}$"}):
        volume.remove()
    for network in engine.networks.list(names=[f"^{NAME}$"]):
        network.remove()
    for image in engine.images.list(NAME):
        engine.images.remove(image.id, force=True)


def test_the_first_run_makes_a_workshop_that_opens(machine: Container) -> None:
    said = _run(machine, f"{CHECKOUT}/atelier up")

    print("\n".join(line for line in said.splitlines() if re.match(r"\[\d/\d\] .* (s|min)$|Done", line)))
    sheet = _run(machine, "cat /var/lib/atelier/workshop-workshop.csv")
    seats = list(csv.DictReader(io.StringIO(sheet)))
    assert len(seats) == 6
    for seat in seats:
        assert seat["url"] in said
        assert "code-server" in _page(machine, seat["url"])


def _page(machine: Container, url: str) -> str:
    answer = _ask(machine, _host(url), "/login")
    assert answer.startswith("200"), answer
    return answer


def _host(url: str) -> str:
    return str(urlsplit(url).hostname)


def _ask(machine: Container, host: str, path: str, kind: str = "", body: str = "") -> str:
    """Returns the status and the body of the gateway's answer."""
    return _run(machine, shlex.join([PYTHON, "-c", ASK, host, path, kind, body]))


def test_the_second_run_changes_nothing(machine: Container) -> None:
    assert re.search(r"\b0 changed", _run(machine, f"{CHECKOUT}/atelier up"))


def test_another_bare_machine_takes_its_place(machine: Container, other_machine: Container) -> None:
    team = "-e workshop_base=Team -e workshop_seats=1 -e workshop_git_repo=true"
    alias = "-e workspace_name=Team -e alias_subdomain=demo -e alias_port=3000"
    _run(machine, f"{CHECKOUT}/atelier play workshop {team}")
    _run(machine, f"{CHECKOUT}/atelier play workspace_alias {alias}")
    ada = json.dumps({"name": "Ada Lovelace", "email": "ada@example.org"})
    assert _ask(machine, "localhost", "/api/workshop/claim", "application/json", ada).startswith("200")
    sheets = _run(machine, "cat /var/lib/atelier/workshop-workshop.csv; tail -n +2 /var/lib/atelier/workshop-team.csv")
    seats = {seat["name"]: seat for seat in csv.DictReader(io.StringIO(sheets))}
    work = f"docker exec --user coder $(docker ps -q --filter label=atelier.name='Team 1') sh -c {shlex.quote(WORK)}"
    _run(machine, work)
    before = _kept(machine)
    there = [("rows", "Ada Lovelace"), ("rows", "'demo'"), ("branches", "team-1"), ("files", "/workspace/uncommitted")]
    assert all(any(name in line for line in before[what]) for what, name in there)
    _run(machine, f"mkdir -p /etc/atelier && openssl rand -hex 32 | install -m 600 /dev/stdin {PASSWORD}")

    begun = time.monotonic()
    _run(machine, f"{CHECKOUT}/atelier backup {BACKUPS}/atelier")
    print(f"Backup: {time.monotonic() - begun:.0f} s")
    _run(other_machine, "mkdir -p /etc/atelier")
    other_machine.put_archive("/etc/atelier", b"".join(machine.get_archive(PASSWORD)[0]))
    begun = time.monotonic()
    said = _run(other_machine, f"{CHECKOUT}/atelier restore {BACKUPS}/atelier")
    print(f"Restore: {time.monotonic() - begun:.0f} s")

    print("\n".join(line for line in said.splitlines() if re.match(r"\[\d+/\d+\] .+ \.\.\. ", line)))
    assert _kept(other_machine) == before
    for seat in seats.values():
        assert _opens(other_machine, seat["url"], seat["password"])
    assert not _opens(other_machine, seats["Workshop"]["url"], "another")
    assert re.search(r"\b0 changed", _run(other_machine, f"{CHECKOUT}/atelier up"))
    assert _kept(other_machine) == before
    _run(other_machine, work)


def _kept(machine: Container) -> dict[str, list[str]]:
    return {what: _run(machine, shown).splitlines() for what, shown in KEPT.items()}


def _opens(machine: Container, url: str, password: str) -> bool:
    form = urlencode({"password": password})
    return _ask(machine, _host(url), "/login", "application/x-www-form-urlencoded", form).startswith("302")


def test_with_a_registry_nothing_is_built(machine: Container) -> None:
    _run(machine, "apt-get install -qq --no-install-recommends docker-registry >/dev/null")
    _run(machine, f"echo '{json.dumps(REGISTRY_SETTINGS)}' >/registry.json")
    machine.exec_run(["docker-registry", "serve", "/registry.json"], detach=True)
    _run(machine, f"{CHECKOUT}/atelier play images_publish -e images_to={REGISTRY}")
    _run(machine, f"{CHECKOUT}/atelier down --purge --yes && docker builder prune --all --force")
    assert not _run(machine, "docker images --quiet")

    said = _run(machine, f"{CHECKOUT}/atelier up -e atelier_images_from={REGISTRY}")

    print(next(line for line in said.splitlines() if line.startswith("Done")))
    # Docker 20.10 and later ones say it in other words.
    assert _run(machine, "docker builder prune --all --force").split()[-1] == "0B"
    assert REGISTRY not in _run(machine, "docker images --format '{{.Repository}}'")
    seats = csv.DictReader(io.StringIO(_run(machine, "cat /var/lib/atelier/workshop-workshop.csv")))
    for seat in seats:
        assert "code-server" in _page(machine, seat["url"])


def test_a_purge_leaves_nothing(machine: Container) -> None:
    _run(machine, f"{CHECKOUT}/atelier down --purge --yes")

    assert not _run(machine, "docker ps --all --quiet")
    assert _run(machine, "ls -d /var/lib/atelier || true").strip().endswith("No such file or directory")
