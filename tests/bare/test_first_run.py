"""The README's first command on bare machines: Debian as an installer leaves it, without Docker and without Python."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

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
# Docker trusts one on this machine without TLS.
REGISTRY = "localhost:5000"
REGISTRY_SETTINGS = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": REGISTRY},
}


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A privileged container with only a root file system in it; removed with its network and image afterwards."""
    release, folder = str(request.param), tmp_path_factory.mktemp(str(request.param))
    engine = docker.from_env(timeout=600)
    _remove(engine)
    engine.api.import_image(src=str(_root_file_system(release, folder)), repository=NAME, tag=release)
    engine.networks.create(NAME, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)]))
    container = engine.containers.run(
        f"{NAME}:{release}",
        ["sleep", "infinity"],
        name=NAME,
        hostname=release,
        detach=True,
        init=True,
        privileged=True,
        network=NAME,
        # overlayfs does not stack.
        volumes=["/var/lib/docker"],
        tmpfs={"/run": "", "/tmp": ""},  # noqa: S108 - a folder of the container
    )
    try:
        container.put_archive("/", _what_a_user_brings(folder))
        _run(container, "cp /authorities.crt /usr/local/share/ca-certificates/host.crt && update-ca-certificates")
        _run(container, f"git clone --quiet /atelier.bundle {CHECKOUT}")
        yield container
    finally:
        _remove(engine)


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
    for container in engine.containers.list(all=True, filters={"name": f"^{NAME}$"}):
        container.remove(force=True, v=True)
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
    # A resolver that knows *.localhost is no part of a bare machine.
    program = (
        "import sys, urllib.request as request; host = sys.argv[1].split('/')[2];"
        "print(request.urlopen(request.Request('http://127.0.0.1/login', headers={'Host': host})).read().decode())"
    )
    return _run(machine, f'{CHECKOUT}/.venv/bin/python -c "{program}" {url}')


def test_the_second_run_changes_nothing(machine: Container) -> None:
    assert re.search(r"\b0 changed", _run(machine, f"{CHECKOUT}/atelier up"))


def test_with_a_registry_nothing_is_built(machine: Container) -> None:
    _run(machine, "apt-get install -qq --no-install-recommends docker-registry >/dev/null")
    _run(machine, f"echo '{json.dumps(REGISTRY_SETTINGS)}' >/registry.json")
    machine.exec_run(["docker-registry", "serve", "/registry.json"], detach=True)
    _run(machine, f"{CHECKOUT}/atelier play images_publish -e images_to={REGISTRY}")
    _run(machine, f"{CHECKOUT}/atelier down --purge --yes && docker builder prune --all --force")
    assert not _run(machine, "docker images --quiet")

    said = _run(machine, f"{CHECKOUT}/atelier up -e atelier_images_from={REGISTRY}")

    print(next(line for line in said.splitlines() if line.startswith("Done")))
    assert _run(machine, "docker builder prune --all --force").splitlines()[-1].split() == ["Total:", "0B"]
    assert REGISTRY not in _run(machine, "docker images --format '{{.Repository}}'")
    seats = csv.DictReader(io.StringIO(_run(machine, "cat /var/lib/atelier/workshop-workshop.csv")))
    for seat in seats:
        assert "code-server" in _page(machine, seat["url"])


def test_a_purge_leaves_nothing(machine: Container) -> None:
    _run(machine, f"{CHECKOUT}/atelier down --purge --yes")

    assert not _run(machine, "docker ps --all --quiet")
    assert _run(machine, "ls -d /var/lib/atelier || true").strip().endswith("No such file or directory")
