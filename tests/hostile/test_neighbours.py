"""Seats neither find nor reach each other through the gateway; people need the seat's password for its ports."""

from __future__ import annotations

import subprocess

import httpx

from tests.waiting import eventually

from .conftest import PATIENCE, PORT, Platform, Seat, Seats

# Tells which headers it was sent.
_SERVE = (
    "import http.server as h; H = type('H', (h.BaseHTTPRequestHandler,), {'log_message': lambda *a: None, 'do_GET': "
    "lambda s: (s.send_response(200), s.end_headers(), s.wfile.write(b'served ' + bytes(s.headers)))}); "
    "h.ThreadingHTTPServer(('', %d), H).serve_forever()"
)


def serve(seat: Seat, port: int) -> None:
    seat.leave_running(f'exec python3 -c "{_SERVE % port}"')
    eventually(
        lambda: seat.try_run(f"curl -s -m 2 localhost:{port}").returncode == 0, f"port {port} answers in the seat"
    )


def host_addresses() -> list[str]:
    """This machine's addresses: those of all bridges, and its own."""
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    return [address for address in listed if ":" not in address]


def ask(seat: Seat, host: str, address: str, path: str = "/") -> str:
    """The status that the gateway answers a program in the seat."""
    code = f"curl -s -o /dev/null -m 10 -w '%{{http_code}}' -H 'Host: {host}' http://{address}:{PORT}{path}"
    return seat.try_run(code).stdout


def ask_all(seat: Seat, hosts: list[str], address: str) -> dict[str, str]:
    """The status for each host, of programs that run side by side."""
    code = f"curl -s -o /dev/null -m 5 -w '%{{http_code}} {{}}\\n' -H 'Host: {{}}' http://{address}:{PORT}/"
    shown = seat.run(f"printf '%s\\n' {' '.join(hosts)} | xargs -P 8 -I{{}} {code} || true")
    return {host: status for status, host in (line.split() for line in shown.splitlines())}


def test_a_seat_reaches_no_other_one_through_the_gateway(platform: Platform, seat: Seats) -> None:
    a, b = seat.several(2)
    for port in (5000, 5001):
        serve(b, port)
    serve(a, 5000)
    domain = b.host.partition(".")[2]
    open_alias = platform.api.post(f"/api/projects/{b.id}/aliases", json={"subdomain": "victim-page", "port": 5000})
    assert open_alias.status_code == 201, open_alias.text
    bridge = a.address.rsplit(".", 2)[0] + ".0.1"

    names = (b.id, b.id.upper(), f"{b.id}-5000", "victim-page")
    hosts = [f"{name}.{domain}{end}" for name in names for end in ("", ".", f":{PORT}")]
    # The same answer as to a name that nobody has.
    hosts += [f"{name}.{domain}" for name in ("0123456789ab", "0123456789ab-5000", "nobody-has-this")]
    for address in {bridge, *host_addresses()}:
        answers = ask_all(a, hosts, address)
        # Other installations' addresses come and go: then somebody elsewhere may have answered.
        assert set(answers.values()) <= {"403", "000"} or address not in host_addresses(), (address, answers)
    assert ask(a, f"{b.id}.{domain}", bridge) == ask(a, f"0123456789ab.{domain}", bridge) == "403"
    # Nor does a seat reach the platform's own host.
    assert ask(a, domain, bridge, "/api/projects") == ask(a, domain, bridge) == "403"

    # Its own addresses work, without a password.
    assert ask(a, f"{a.id}.{domain}", bridge, "/healthz") == "200"
    assert ask(a, f"{a.id}-5000.{domain}", bridge) == "200"

    # What is shared is open to everybody; its neighbour port is not.
    path = f"/api/projects/{b.id}/ports/5000/share"
    assert platform.api.post(path).json()["shared"] is True
    assert ask(a, f"{b.id}-5000.{domain}", bridge) == ask(a, f"victim-page.{domain}", bridge) == "200"
    assert ask(a, f"{b.id}-5001.{domain}", bridge) == ask(a, f"{b.id}.{domain}", bridge) == "403"
    assert platform.visit(f"{b.id}-5000.{domain}").status_code == 200
    assert platform.api.delete(path).json()["shared"] is False
    assert ask(a, f"{b.id}-5000.{domain}", bridge) == ask(a, f"victim-page.{domain}", bridge) == "403"


def test_people_need_the_seats_password_for_its_ports(platform: Platform, seat: Seats) -> None:
    it = seat()
    serve(it, 5000)
    domain = it.host.partition(".")[2]
    host = f"{it.id}-5000.{domain}"
    shown = platform.visit(host)
    assert (shown.status_code, "served" in shown.text) == (401, False)
    assert platform.visit(host, headers={"Authorization": "Basic eDp3cm9uZw=="}).status_code == 401
    by_program = platform.visit(host, auth=httpx.BasicAuth("anybody", it.password))
    assert (by_program.status_code, "uthorization" in by_program.text) == (200, False)

    def sign_in(password: str) -> httpx.Response:
        headers = {"Referer": f"http://{host}:{PORT}/deep?x=1", "Origin": f"http://{host}:{PORT}"}
        return platform.visit(host, "/.atelier/sign-in", method="POST", data={"password": password}, headers=headers)

    assert "wrong=1" in sign_in("wrong").headers["Location"]
    signed_in = sign_in(it.password)
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/deep?x=1")
    assert "HttpOnly" in signed_in.headers["Set-Cookie"] and "SameSite=lax" in signed_in.headers["Set-Cookie"]
    cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}
    by_browser = platform.visit(host, headers=cookie)
    assert (by_browser.status_code, "atelier-port" in by_browser.text) == (200, False)
    # The pass is for this port of this seat, and until the password is another.
    assert platform.visit(f"{it.id}-5001.{domain}", headers=cookie).status_code == 401

    # An alias with a password is not passed by, whatever else is set.
    guard = {"subdomain": "guarded-page", "port": 5000, "basicAuth": {"user": "guest", "password": "guests-only"}}
    assert platform.api.post(f"/api/projects/{it.id}/aliases", json=guard).status_code == 201
    assert platform.visit(host).status_code == 401
    assert platform.api.post(f"/api/projects/{it.id}/ports/5000/share").status_code == 409

    changed = {"currentPassword": it.password, "newPassword": "another-of-it-1!"}
    assert platform.api.put(f"/api/projects/{it.id}/password", json=changed).status_code == 200
    assert platform.visit(host, headers=cookie).status_code == 401


def test_a_stranger_does_not_lock_the_participant_out(platform: Platform, seat: Seats) -> None:
    it = seat()
    # More wrong passwords than code-server counts, from seats that may not and from people that may.
    for _ in range(20):
        refused = platform.visit(it.host, "/login", method="POST", data={"password": "wrong"})
        assert refused.status_code in (200, 429) and "Set-Cookie" not in refused.headers
    by_another = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=by_another, timeout=PATIENCE) as participant:
        signed_in = participant.post(
            f"http://127.0.0.1:{PORT}/login", headers={"Host": f"{it.host}:{PORT}"}, data={"password": it.password}
        )
    assert signed_in.status_code == 302, signed_in.text[:300]
    assert "code-server-session" in signed_in.headers["Set-Cookie"]
