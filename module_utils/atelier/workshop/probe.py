"""Opens a seat like a browser, through the gateway: its page, then its WebSocket."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urljoin, urlsplit

from ..common.messages import Message
from ..common.models import Site
from ..containers.seat_http import SeatResponse, ask

_GATEWAY = "127.0.0.1"
_MOST_REDIRECTS = 3
_LARGEST = 4 * 1024**2
# The request of code-server's page: source microsoft/vscode, src/vs/platform/remote/browser/browserSocketFactory.ts.
_SOCKET = "/?reconnectionToken={token}&reconnection=false&skipWebSocketFrames=false"
_HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def probe(site: Site, workspace_id: str, timeout: float) -> tuple[float, str | None]:
    """Requests the seat from this machine's gateway by its host name. Returns the seconds until the WebSocket was open,
    and the error, if any. Never raises for faults of the network or the seat, and takes at most ``timeout`` seconds."""
    begin = time.monotonic()
    attempt = _Probe(site, urlsplit(site.workspace_url(workspace_id)).netloc, begin + timeout)
    try:
        fault = attempt.open_page() or attempt.open_socket()
    # ValueError: a redirect to an invalid address.
    except (OSError, ValueError) as error:
        fault = Message("gateway_silent", kind=type(error).__name__)
    return time.monotonic() - begin, fault


class _Probe:
    """Plain HTTP is used if https is terminated in front of the gateway."""

    def __init__(self, site: Site, host: str, deadline: float) -> None:
        self._port, self._host, self._deadline = site.port, host, deadline
        self._tls: ssl.SSLContext | None = None
        if site.protocol == "https":
            self._tls = ssl.create_default_context()
            # The certificate is valid for the domain, but the machine is addressed by IP.
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def open_page(self) -> str | None:
        path = "/"
        for _ in range(_MOST_REDIRECTS):
            answer = self._ask(path)
            if answer.status not in (301, 302, 303, 307, 308):
                return None if answer.status == 200 else Message("page_answers", status=answer.status)
            target = urlsplit(urljoin(path, answer.headers.get("location", "/")))
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return Message("page_leads_on")

    def open_socket(self) -> str | None:
        answer = self._ask(_SOCKET.format(token=secrets.token_hex(16)), _HANDSHAKE)
        return None if answer.status == 101 else Message("socket_answers", status=answer.status)

    def _ask(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> SeatResponse:
        left = max(self._deadline - time.monotonic(), 0.001)
        asked = {"Host": self._host, **headers}
        try:
            return ask((_GATEWAY, self._port), path, seconds=left, limit=_LARGEST, headers=asked, tls=self._tls)
        except ssl.SSLError:
            if self._tls is None:
                raise
            self._tls = None
            return self._ask(path, headers)
