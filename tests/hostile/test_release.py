"""A former participant has no access to a released seat, regardless of preparations in it."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest
from atelier.common.passwords import generate_password, hash_password

from tests.waiting import eventually

from .conftest import ADMIN_PASSWORD, GROUP, PATIENCE, Platform, Seat, Seats

ADMIN = {"X-Admin-Password": ADMIN_PASSWORD}
# A page that takes whatever password somebody types, on any port.
_FAKE = (
    "import http.server as h; H = type('H', (h.BaseHTTPRequestHandler,), {'log_message': lambda *a: None, 'do_GET': "
    "lambda s: (s.send_response(200), s.end_headers(), s.wfile.write(b'fake'))}); "
    "h.ThreadingHTTPServer(('', %d), H).serve_forever()"
)
# What stays when the files stay: programs in place of the platform's and the system's, and what starts at a login.
_PREPARE = """
mkdir -p ~/.local/bin && cd ~/.local/bin
printf '#!/bin/sh\\ntouch /workspace/ran-$(basename "$0")\\nexit 0\\n' >trap && chmod +x trap
names="restart-ide load-git-credential setsid node rm sleep kill cp sh cat git ps ip timeout true"
for name in $names; do /bin/ln -sf trap $name; done
for file in ~/.profile ~/.bash_profile ~/.bashrc; do echo '/usr/bin/touch /workspace/ran-at-login' >$file; done
/bin/rm -f /dev/shm/workspace-ide.pid /dev/shm/workspace-ide.restart
/usr/bin/mkfifo /dev/shm/workspace-ide.pid /dev/shm/workspace-ide.restart
"""
# Ends the IDE again and again until its port is free for the page above.
_SEIZE = 'while :; do /usr/bin/pkill -9 -f [w]orkspace-ide.js; /usr/bin/python3 -c "%s"; done' % (_FAKE % 8082)


def sign_in(platform: Platform, seat: Seat, password: str) -> httpx.Response:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    content = urlencode({"password": password})
    return platform.visit(seat.host, "/login", method="POST", headers=form, content=content, follow_redirects=False)


def opens(platform: Platform, seat: Seat, cookie: str) -> bool:
    answer = platform.visit(seat.host, headers={"Cookie": cookie}, follow_redirects=False)
    return answer.status_code in (200, 302) and "login" not in answer.headers.get("location", "")


def programs(seat: Seat) -> list[str]:
    """The command lines of all processes in the seat, as the host sees them."""
    listed = seat.container.top(ps_args="-eo pid,args")
    return [str(entry[-1]) for entry in listed["Processes"] or ()]


def detached(seat: Seat, *command: str) -> None:
    """Starts a process that survives the end of the terminal."""
    seat.container.exec_run(["/usr/bin/setsid", *command], user="coder", detach=True)


@pytest.mark.parametrize("files", ["keep", "reset"])
def test_a_release_ends_everything(platform: Platform, seat: Seats, files: str) -> None:
    taken = seat(group=GROUP)
    answer = platform.api.post("/api/workshop/claim", json={"name": "First", "email": f"first-{taken.id}@example.org"})
    assert answer.status_code == 200, answer.text
    first = sign_in(platform, taken, taken.password)
    assert first.status_code == 302, first.text
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert opens(platform, taken, cookie)

    taken.run(_PREPARE)
    detached(taken, "/usr/bin/python3", "-c", _FAKE % 3000)
    detached(taken, "/bin/bash", "-c", _SEIZE)
    eventually(lambda: platform.visit(taken.host).text == "fake", "the stranger's page", PATIENCE)

    if files == "keep":
        answer = platform.api.post(f"/api/workshop/claims/{taken.id}/release", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        told = [answer.json()[key] for key in ("sessions", "password", "files")]
        assert told == ["ended", "kept", "kept"]
        password = taken.password  # the card's, which the next participant gets
    else:
        # As the API does where passwords are made up, which this installation does not.
        secret = f"workspace_password_hash={hash_password(generate_password())}"
        run = platform.installation.run(
            *("play", "workspace_release", "-e", f"workspace_id={taken.id}"), "-e", "release_files=reset", "-e", secret
        )
        assert run.returncode == 0, run.stdout
        answer = platform.api.post(f"/api/workshop/seats/{taken.id}/password", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        password = answer.json()["password"]
        assert sign_in(platform, taken, taken.password).status_code == 200  # the form again

    left = programs(taken)
    assert not [line for line in left if "python" in line or "bash" in line], left
    _, listed = taken.container.exec_run(["/bin/ls", "/workspace"])
    assert "ran-" not in listed.decode(), listed
    assert not opens(platform, taken, cookie)
    second = sign_in(platform, taken, password)
    assert second.status_code == 302, second.text
    assert opens(platform, taken, second.headers["set-cookie"].partition(";")[0])


def test_a_new_password_ends_the_old_sessions(platform: Platform, seat: Seats) -> None:
    taken = seat(group=GROUP)
    cookie = sign_in(platform, taken, taken.password).headers["set-cookie"].partition(";")[0]
    taken.run(_PREPARE)
    detached(taken, "/bin/bash", "-c", _SEIZE)
    eventually(lambda: platform.visit(taken.host).text == "fake", "the stranger's page", PATIENCE)
    answer = platform.api.post(f"/api/workshop/seats/{taken.id}/password", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert not opens(platform, taken, cookie)
    assert sign_in(platform, taken, taken.password).status_code == 200
    assert sign_in(platform, taken, answer.json()["password"]).status_code == 302
