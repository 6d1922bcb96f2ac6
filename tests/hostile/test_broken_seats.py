"""All that can be done to a seat still can, and soon, when its user has left it in a state that nobody foresaw."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.waiting import eventually

from .conftest import GROUP, PATIENCE, Platform, Seat, Seats

# Seconds for each step, on a loaded machine.
SOON = 120.0
NEW_PASSWORD = "another-of-it-1!"

_PROCESSES = """
import os, signal, time
while True:
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        open("/workspace/full", "w").close()
        time.sleep(0.01)
"""
_NAMES = r"""
import os, socket
names = [b"\xff\xfe", b"a\nb", b"\x1b[2J", "\u202egpj.exe".encode(), b"n" * 255, b"-rf", b" ", b"=1", b"{{ 7 }}"]
home = os.path.expanduser("~")
for folder in ("/workspace", home + "/.ssh", "/workspace/" + "d" * 255):
    os.makedirs(folder, exist_ok=True)
    for name in names:
        with open(folder.encode() + b"/" + name, "wb") as file:
            file.write(b"secret\n")
os.chdir("/workspace")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink("loop", "loop")
os.symlink(b"\xff\n", "odd")
os.link("pipe", "pipe2")
os.utime("-rf", (2**33, 2**33))
os.utime(home + "/.ssh/-rf", (-(2**31), -(2**31)))
os.chmod(home + "/.ssh/ ", 0o6777)
for _ in range(900):
    os.mkdir("deeper")
    os.chdir("deeper")
"""
_PORTS = """
import os, socket, time
for part in range(5):
    if os.fork() == 0:
        held = []
        for port in range(1024 + part * 12800, 1024 + (part + 1) * 12800):
            try:
                one = socket.socket()
                one.bind(("", port))
                one.listen()
                held.append(one)
            except OSError:
                pass
        open(f"/workspace/listens.{part}", "w").close()
        time.sleep(3600)
time.sleep(3600)
"""
_SHELL = """
head -c 100M /dev/zero >/dev/shm/full
rm -f /dev/shm/workspace*; mkdir -p /dev/shm/workspace-ide.pid/x /dev/shm/workspace-git-credential/x
ln -s / ~/.aws; ln -s /proc/self/fd ~/.kube; ln -s /etc/code-server ~/.config/code-server
cd /workspace; mkdir -p .git/objects/info; echo /etc >.git/objects/info/alternates
head -c 50M /dev/zero >.git/index; echo '* filter=f' >.gitattributes
for setting in filter.f.clean filter.f.process core.fsmonitor core.sshCommand core.alternateRefsCommand; do
    git config $setting 'sleep inf'
done
git config core.worktree /
true
"""


def _leave_python(seat: Seat, text: str, sign: str) -> None:
    seat.run(f"cat >/tmp/it.py <<'END'\n{text}\nEND")
    seat.leave_running("ulimit -n 16384; exec python3 /tmp/it.py")
    # By root: the seat's user may have no process left.
    eventually(lambda: not seat.container.exec_run(["test", "-e", sign], user="root").exit_code, sign, PATIENCE)


def _odd(seat: Seat) -> None:
    seat.run(f"cat >/tmp/it.py <<'END'\n{_NAMES}\nEND\npython3 /tmp/it.py")
    seat.run(_SHELL)
    _leave_python(seat, _PORTS, "/workspace/listens.4")


STATES: dict[str, Callable[[Seat], object]] = {
    "names, links, git's folder, ports": _odd,
    "as many processes as it may have": lambda seat: _leave_python(seat, _PROCESSES, "/workspace/full"),
    "no rights": lambda seat: seat.run("cd /; chmod -R 000 /workspace /home/coder; true"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_broken_seat_is_still_in_hand(platform: Platform, seat: Seats, state: str) -> None:
    broken = seat(group=GROUP)
    STATES[state](broken)
    api, path = platform.api, f"/api/projects/{broken.id}"

    def do(method: str, address: str, **more: object) -> None:
        begin = time.monotonic()
        answer = api.request(method, f"{path}{address}", **more)  # type: ignore[arg-type]
        assert answer.is_success, (address, answer.text)
        assert time.monotonic() - begin < SOON, address

    do("GET", "/ports")
    do("GET", "/disk-usage")
    do("POST", "/checkpoint")
    job = platform.ended(api.post("/api/workshop/collect").json()["jobId"])
    entries = {entry["projectId"]: entry for entry in api.get("/api/workshop/collect").json()["seats"]}
    assert entries[broken.id]["file"] and not entries[broken.id]["error"], (job, entries)
    do("PUT", "/password", json={"currentPassword": broken.password, "newPassword": NEW_PASSWORD})
    # The container was created or started again: the IDE answers.
    assert platform.visit(broken.host, "/healthz").status_code == 200
    do("POST", "/reset")
    do("POST", "/stop", json={"password": NEW_PASSWORD})
    do("DELETE", "", json={"password": NEW_PASSWORD})
