"""The baseline: the same image, created, started and polled straight through the Docker API by a thread pool."""

from __future__ import annotations

import http.client
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import docker

from .host import IMAGE, INSTANCE

# As many seats in flight as Atelier has, so that the ratio shows its overhead and not a luckier pool.
WORKERS_PER_CORE = 3
_MEMORY = 2 * 1024**3


def baseline(count: int) -> float:
    """Seconds until ``count`` plain containers of the image answer HTTP. They are removed again."""
    api = docker.APIClient(version="auto", timeout=300)
    workers = min(WORKERS_PER_CORE * api.info()["NCPU"], count)
    begin = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        names = list(pool.map(lambda number: _start(api, number), range(count)))
    seconds = time.monotonic() - begin
    for name in names:
        api.remove_container(name, force=True, v=True)
    return seconds


def recreate() -> float:
    """Seconds until a container that is stopped and replaced by another of its image answers HTTP again."""
    api = docker.APIClient(version="auto", timeout=300)
    _start(api, 0)
    begin = time.monotonic()
    api.stop(f"{INSTANCE}-baseline-0")
    _start(api, 1)
    seconds = time.monotonic() - begin
    for number in range(2):
        api.remove_container(f"{INSTANCE}-baseline-{number}", force=True, v=True)
    return seconds


def _start(api: docker.APIClient, number: int) -> str:
    name = f"{INSTANCE}-baseline-{number}"
    api.create_container(
        IMAGE,
        name=name,
        labels={"atelier.instance": INSTANCE},
        host_config=api.create_host_config(
            network_mode=f"{INSTANCE}-open", mem_limit=_MEMORY, nano_cpus=int(min(2, api.info()["NCPU"]) * 1e9)
        ),
    )
    api.put_archive(name, "/etc/code-server", open_to_all())
    api.start(name)
    address = api.inspect_container(name)["NetworkSettings"]["Networks"][f"{INSTANCE}-open"]["IPAddress"]
    while not answers(address):
        time.sleep(0.05)
    return name


def open_to_all() -> bytes:
    """The archive of an IDE's configuration that asks for no password."""
    data = b"auth: none\ncert: false\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("config.yaml")
        entry.size, entry.gid, entry.mode = len(data), 1000, 0o640
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def answers(address: str) -> bool:
    """Whether the IDE at the address does."""
    connection = http.client.HTTPConnection(address, 8082, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
