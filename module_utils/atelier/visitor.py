"""Opens a seat as a browser does: through the gateway, its page and then its WebSocket."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from .model import Site

_MOST_REDIRECTS = 3
# What code-server's page asks for: source microsoft/vscode, src/vs/platform/remote/browser/browserSocketFactory.ts.
_SOCKET = "/?reconnectionToken={token}&reconnection=false&skipWebSocketFrames=false"
_HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@dataclass(frozen=True)
class Visit:
    """Seconds until the WebSocket was open, and what went wrong, if something did."""

    seconds: float
    fault: str | None


def visit(site: Site, workspace_id: str, timeout: float) -> Visit:
    """Asks this machine's gateway for the seat by its host name. Never raises for what the network does."""
    begin = time.monotonic()
    host = urlsplit(site.workspace_url(workspace_id)).netloc
    try:
        fault = _open_page(site, host, timeout) or _open_socket(site, host, timeout)
    except (OSError, http.client.HTTPException) as error:
        fault = f"the gateway does not answer ({type(error).__name__})"
    return Visit(time.monotonic() - begin, fault)


def _open_page(site: Site, host: str, timeout: float) -> str | None:
    path = "/"
    for _ in range(_MOST_REDIRECTS):
        with closing(_connection(site, timeout)) as connection:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
        if answer.status not in (301, 302, 303, 307, 308):
            return None if answer.status == 200 else f"its page answers {answer.status}"
        target = urlsplit(urljoin(path, answer.headers.get("Location", "/")))
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return "its page only leads on"


def _open_socket(site: Site, host: str, timeout: float) -> str | None:
    with closing(_connection(site, timeout)) as connection:
        connection.request("GET", _SOCKET.format(token=secrets.token_hex(16)), headers={"Host": host, **_HANDSHAKE})
        answer = connection.getresponse()
        return None if answer.status == 101 else f"its WebSocket answers {answer.status}"


def _connection(site: Site, timeout: float) -> http.client.HTTPConnection:
    """To the gateway on this machine. https may be what something in front of it speaks: then it speaks plain HTTP."""
    plain = http.client.HTTPConnection("127.0.0.1", site.port, timeout=timeout)
    plain.connect()
    if site.protocol == "http":
        return plain
    context = ssl.create_default_context()
    # The certificate is the domain's, and this machine is asked by its own address.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        assert isinstance(plain.sock, socket.socket)  # noqa: S101 - it was connected just now
        plain.sock = context.wrap_socket(plain.sock)
    except ssl.SSLError:
        plain.close()
        return http.client.HTTPConnection("127.0.0.1", site.port, timeout=timeout)
    return plain
