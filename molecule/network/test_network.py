"""The firewall, tested from real containers: reachable and blocked destinations."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from conftest import listen, playbook
from docker.models.containers import Container

from tests.waiting import eventually

PRIVATE_PORT = 18986  # a service of the host that seats have no business with
PUBLISHED_PORT = 18987  # of a container that is no seat
# Of the range where clouds have their metadata service, but not an address that one uses.
METADATA = "169.254.77.77"
RULES = Path("/etc/atelier/firewall.d")


class Greeting(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello")


@pytest.fixture(scope="module")
def host(site: dict[str, Any]) -> str:
    """The host's address on the seats' bridge."""
    return str(next(IPv4Network(site["networks"]["none"]["subnet"]).hosts()))


@pytest.fixture(scope="module", autouse=True)
def services(site: dict[str, Any]) -> Iterator[None]:
    """Something that answers on the gateway's port, on git's, on a private one, and at the metadata address."""
    subprocess.run(["ip", "address", "add", f"{METADATA}/32", "dev", "lo"], check=True)
    ThreadingTCPServer.allow_reuse_address = True
    ports = (site["port"], site["git"]["seat_port"], PRIVATE_PORT)
    servers = [ThreadingTCPServer(("0.0.0.0", port), Greeting) for port in ports]  # noqa: S104
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    for server in servers:
        server.shutdown()
        server.server_close()
    subprocess.run(["ip", "address", "delete", f"{METADATA}/32", "dev", "lo"], check=True)


@pytest.fixture(scope="module")
def seats(site: dict[str, Any], start: Callable[..., Container]) -> list[Container]:
    first = IPv4Network(site["networks"]["none"]["subnet"]).network_address
    return [start(*listen(8082), address=str(first + offset)) for offset in (10, 11)]


@pytest.fixture(scope="module")
def outsider(start: Callable[..., Container]) -> Container:
    return start(*listen(8082), ports={"8082/tcp": PUBLISHED_PORT})


def address_of(container: Container) -> str:
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def reaches(container: Container, address: str, port: int) -> bool:
    """Whether a TCP connection from the container gets its greeting."""
    code, output = container.exec_run(["timeout", "2", "bash", "-c", f"head -c 5 </dev/tcp/{address}/{port}"])
    return code == 0 and output == b"hello"


def comes_to_reach(container: Container, address: str, port: int) -> None:
    """Asserts that an open port answers, with time for a machine that is busy."""
    eventually(lambda: reaches(container, address, port), f"{address}:{port} answers")


def test_a_seat_reaches_the_gateway_and_git_only(seats: list[Container], host: str, site: dict[str, Any]) -> None:
    comes_to_reach(seats[0], host, site["port"])
    comes_to_reach(seats[0], host, site["git"]["seat_port"])
    assert not reaches(seats[0], host, PRIVATE_PORT)


def test_the_host_reaches_seats(seats: list[Container]) -> None:
    ask = ["timeout", "2", "bash", "-c", f"head -c 5 </dev/tcp/{address_of(seats[1])}/8082"]
    eventually(lambda: subprocess.run(ask, capture_output=True, check=False).stdout == b"hello", "the seat answers")


def test_seats_do_not_reach_each_other(seats: list[Container]) -> None:
    assert not reaches(seats[0], address_of(seats[1]), 8082)
    assert not reaches(seats[1], address_of(seats[0]), 8082)


def test_seats_and_other_containers_do_not_meet(seats: list[Container], outsider: Container, host: str) -> None:
    assert not reaches(seats[0], address_of(outsider), 8082)
    assert not reaches(seats[0], host, PUBLISHED_PORT)
    assert not reaches(outsider, address_of(seats[0]), 8082)
    # By the address that the machine has outside.
    routed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()[0]
    assert not reaches(seats[0], routed, PUBLISHED_PORT)
    assert not reaches(seats[0], routed, PRIVATE_PORT)


def test_names_resolve(seats: list[Container]) -> None:
    """Docker's own DNS needs nothing of the host that the firewall blocks."""
    code, output = seats[0].exec_run(["getent", "hosts", seats[1].name])
    assert code == 0
    assert address_of(seats[1]) in output.decode()


def test_it_is_the_firewall(seats: list[Container], host: str, site: dict[str, Any]) -> None:
    """Without the table the same connections succeed; a run of the role, or what runs at boot, brings it back."""
    blocked = [(host, PRIVATE_PORT), (METADATA, PRIVATE_PORT)]
    assert not any(reaches(seats[0], *target) for target in blocked)
    subprocess.run(["nft", "delete", "table", "inet", site["instance"]], check=True)
    try:
        for target in blocked:
            comes_to_reach(seats[0], *target)
    finally:
        subprocess.run(["nft", "-f", RULES / f"{site['instance']}.nft"], check=True)
    assert not any(reaches(seats[0], *target) for target in blocked)


def test_a_run_notices_that_the_table_is_gone(site: dict[str, Any]) -> None:
    subprocess.run(["nft", "delete", "table", "inet", site["instance"]], check=True)
    run = playbook(Path(__file__).with_name("converge.yml"))
    assert run.returncode == 0, run.stdout
    assert "1 changed" in run.stdout
    assert (
        subprocess.run(["nft", "list", "table", "inet", site["instance"]], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ("172.31.249.0/24", "exists with the range 172.31.250.0/24"),
        ("127.0.0.0/33", "is not an IPv4 range"),
    ],
)
def test_a_range_that_does_not_fit_is_refused(subnet: str, words: str) -> None:
    run = playbook(Path(__file__).with_name("converge.yml"), "-e", f"atelier_network_open_subnet={subnet}")
    assert run.returncode != 0
    assert words in run.stdout
    assert "atelier_network_open_subnet" in run.stdout
    assert "0 changed" in run.stdout


def test_a_range_that_the_host_uses_is_refused(outsider: Container) -> None:
    taken = f"{address_of(outsider)}/32"
    run = playbook(Path(__file__).with_name("converge.yml"), "-e", f"atelier_network_open_subnet={taken}")
    assert run.returncode != 0
    assert "VALIDATION_ERROR" in run.stdout
    assert "which docker0 carries" in run.stdout
