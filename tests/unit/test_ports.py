"""The process that holds a port, found in /proc."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext as does_not_raise
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.host.ports import holders, listening_inodes, listening_ports, require_free

# Two listeners on port 80 (0050) and 8080, and a connection from port 80.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0000 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2222 1 0000 100 0 0 10 0
   2: 0100007F:0050 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3333 1 0000 100 0 0 10 0
"""


def process(proc: Path, pid: int, name: str, inode: int, cgroup: str = "0::/") -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "3").symlink_to(f"socket:[{inode}]")
    (folder / "comm").write_text(name + "\n")
    (folder / "cgroup").write_text(cgroup + "\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    return tmp_path


def test_only_listeners_count() -> None:
    assert listening_inodes(TCP, 80) == {1111}
    assert listening_inodes(TCP, 8080) == {2222}
    assert listening_inodes(TCP, 443) == set()


def test_only_what_is_in_the_way_of_an_address_counts() -> None:
    mapped = "   3: 0000000000000000FFFF00000100007F:1F90 0:0 0A 0:0 0:0 0 0 0 5555 1 0 100 0 0 10 0\n"
    assert listening_inodes(TCP, 8080, ["172.28.0.1"]) == set()
    assert listening_inodes(TCP + mapped, 8080, ["172.28.0.1", "127.0.0.1"]) == {2222, 5555}
    assert listening_inodes(TCP, 80, ["172.28.0.1"]) == {1111}  # all addresses are this one, too


def test_open_ports_are_those_of_programs() -> None:
    dns = (
        "   3: 0B00007F:A9F1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0"
    )
    assert listening_ports(TCP + dns) == {80: True, 8080: False}


def test_the_holder_is_named(proc: Path) -> None:
    process(proc, 12, "nginx", 1111)
    process(proc, 13, "other", 9999)
    assert holders(80, proc=proc) == ["nginx (pid 12)"]


def test_the_own_container_is_no_holder(proc: Path) -> None:
    process(proc, 12, "haproxy", 1111, cgroup="0::/system.slice/docker-abc123.scope")
    assert holders(80, own_containers=["abc123", "123abc"], proc=proc) == []
    assert holders(80, own_containers=["def456"], proc=proc) == ["haproxy (pid 12)"]


def test_a_holder_out_of_sight_is_one_nevertheless(proc: Path) -> None:
    assert holders(80, proc=proc) == [Message("port.unseen")]


def test_this_very_process_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = holders(server.getsockname()[1])
    assert [name.rpartition(" ")[2] for name in found] == [f"{os.getpid()})"]


def test_a_taken_port_is_refused_with_its_remedy() -> None:
    with pytest.raises(AtelierError, match=r"Port 80 \(atelier_base_port\) is taken by nginx \(pid 12\)") as caught:
        require_free(80, "atelier_base_port", ["nginx (pid 12)"])
    assert caught.value.code == Code.PORT_IN_USE
    assert caught.value.details["field"] == "atelier_base_port"
    assert "-e atelier_base_port=8080" in str(caught.value)
    with pytest.raises(AtelierError, match="-e atelier_git_port=3001"):
        require_free(3000, "atelier_git_port", ["node (pid 12)"])


def test_a_free_port_is_fine() -> None:
    with does_not_raise():
        require_free(80, "atelier_base_port", [])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(AtelierError) as caught:
        require_free(port, "atelier_base_port", [])
    assert caught.value.code == Code.VALIDATION_ERROR
