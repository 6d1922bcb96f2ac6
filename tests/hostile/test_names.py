"""Names reveal nothing to a seat about others: Docker's name server, git, the environment, /proc."""

from __future__ import annotations

from ipaddress import IPv4Address

import docker

from .conftest import INSTANCE, Platform, Seat, Seats

# Every address around the seats' own, by the C library and by raw queries to Docker's name server; and what its
# answers hold.
REVERSE = r"""
import socket, struct, sys
from concurrent.futures import ThreadPoolExecutor
def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"
def ask(number):
    address = socket.inet_ntoa(struct.pack("!I", number))
    try:
        print("C", address, socket.gethostbyaddr(address))
    except OSError:
        pass
    asked = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    for kind in (12, 255):  # PTR, ANY
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            query.settimeout(2)
            question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name(asked) + struct.pack("!2H", kind, 1)
            query.sendto(question, ("127.0.0.11", 53))
            try:
                print("D", address, kind, query.recv(4096))
            except OSError:
                pass
with ThreadPoolExecutor(32) as pool:
    list(pool.map(ask, range(int(sys.argv[1]), int(sys.argv[2]) + 1)))
"""


def ids(platform: Platform) -> set[str]:
    return {project["id"] for project in platform.api.get("/api/projects/").json()["projects"]}


def test_a_seat_learns_no_other_id_by_names(platform: Platform, seat: Seats) -> None:
    for mode in ("none", "logging", "security"):
        other, stranger = seat.several(2, proxyMode=mode)
        numbers = [int(IPv4Address(each.address)) for each in (stranger, other)]
        first, last = min(numbers) - 16, max(numbers) + 16
        found = stranger.run(f"python3 - {first} {last} <<'END'\n{REVERSE}\nEND")
        assert other.address in found, found  # the name server did answer
        others = ids(platform) - {stranger.id}
        assert others
        around = stranger.run(
            f"getent hosts {other.address}; env; git config --list --show-origin; cat /proc/self/mountinfo"
            " /proc/net/arp /etc/hosts /etc/resolv.conf /proc/*/environ 2>/dev/null; true"
        )
        for id in others:
            assert id not in found + around
            assert id[:8] not in found + around
        # Nor what the platform's own containers are called.
        for container in docker.from_env().containers.list(filters={"label": f"atelier.instance={INSTANCE}"}):
            if "atelier.service" in container.labels:
                assert container.name not in found


def test_a_clone_does_not_learn_its_base_from_the_commits(platform: Platform, seat: Seats) -> None:
    base = seat(createGitRepo=True)
    answer = platform.api.post(f"/api/projects/{base.id}/clone", json={"count": 1})
    assert answer.status_code == 202, answer.text
    (made,) = (entry["projectId"] for entry in answer.json()["clones"])
    assert platform.ended(answer.json()["jobId"])["state"] == "successful"
    clone = Seat(made, "clone", platform.api.get(f"/api/projects/{made}").json()["project"]["workspaceUrl"], "")
    try:
        seen = clone.run(
            "git -C /workspace fetch --quiet --all; git -C /workspace log --all --format=raw;"
            " git -C /workspace config --list; git -C /workspace ls-remote origin; env; cat /etc/code-server/gitconfig"
        )
        assert "@seats." in seen
        assert base.id not in seen
    finally:
        platform.delete(clone)
