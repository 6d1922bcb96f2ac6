"""The mitmproxy addon: forwards traffic at once and sends a copy to the writer."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from mitmproxy import connection, http, tcp
from mitmproxy.proxy import server_hooks

from ..body_buffer import Budget, Tee
from ..messages import DomainSeen, Exchanged, SocketClosed, SocketMessage, SocketOpened, weight
from ..redact import secrets_of
from ..settings import Settings
from ..timestamps import now_ms
from ..workspaces import Workspaces
from .address_filter import AddressFilter, is_literal
from .exchange import Exchange
from .lookups import LOOKUPS, Lookups
from .pipe import Pipe
from .providers import find_provider, parse_providers

_EXCHANGE = "atelier.exchange"
_SOCKET = "atelier.socket"
# A valid name has at most 253 characters; a longer one stays invalid even when cut to this length.
_LONGEST_HOST = 256
_asking: ContextVar[str] = ContextVar("asking", default="")


class Recorder:
    """All methods but ``__init__`` are mitmproxy's hooks: https://docs.mitmproxy.org/stable/api/events.html"""

    def __init__(self, settings: Settings, settings_file: Path) -> None:
        self._limits = settings.limits
        self._providers = parse_providers(settings.providers)
        self._address_filter = AddressFilter(
            settings.client_network, settings.refused_networks, settings.allowed_networks
        )
        self._workspaces = Workspaces(settings.workspaces_file)
        self._budget = Budget(settings.limits.buffer_bytes)
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        # Tunnels that were counted when they were opened and have had no request yet, by client and host.
        self._tunnels: dict[str, set[str]] = {}
        # Connections by their client's address.
        self._connections: dict[str, set[str]] = {}
        self._pipe = Pipe(settings_file, self._budget, lambda: list(self._exchanges.values()))

    def running(self) -> None:
        """Makes the proxy's name resolution omit addresses that clients must not reach.

        Done here, not by a separate look-up, so that the checked address is also the one that is connected to.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup"))
        resolve, lookups = loop.getaddrinfo, Lookups()

        async def guarded(host: Any, port: Any, **options: Any) -> list[Any]:
            async with lookups.of(_asking.get()):
                found = await resolve(host, port, **options)
            allowed = [entry for entry in found if self._address_filter.destination_allowed(str(entry[4][0]))]
            if found and not allowed:
                raise OSError("this destination is not allowed")
            return allowed

        loop.getaddrinfo = guarded  # type: ignore[method-assign]
        self._pipe.start()

    def done(self) -> None:
        for exchange in list(self._exchanges.values()):
            self._finish(exchange, error="The recorder was stopped.")
        self._pipe.stop()

    # --- Who, and where to ------------------------------------------------------------------------------------------
    def client_connected(self, client: connection.Client) -> None:
        address = client.peername[0]
        if not self._address_filter.client_allowed(address):
            client.error = "not a client of this recorder"
        elif len(self._connections.get(address, ())) >= self._limits.max_connections:
            client.error = "this client has too many connections"
        else:
            self._connections.setdefault(address, set()).add(client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        self._tunnels.pop(client.id, None)
        open_ones = self._connections.get(client.peername[0], set())
        open_ones.discard(client.id)
        if not open_ones:
            self._connections.pop(client.peername[0], None)
        for exchange in [exchange for exchange in self._exchanges.values() if exchange.client == client.id]:
            self._finish(exchange, error="The client closed the connection.")

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        # The connection is opened in this very task, so its look-up knows for whom it is.
        _asking.set(data.client.peername[0])
        host = data.server.address[0] if data.server.address else ""
        # Addresses need no lookup.
        if is_literal(host) and not self._address_filter.destination_allowed(host):
            data.server.error = "this destination is not allowed"

    # --- HTTP -------------------------------------------------------------------------------------------------------
    def http_connect(self, flow: http.HTTPFlow) -> None:
        self._tunnels.setdefault(flow.client_conn.id, set()).add(flow.request.host)
        self._count(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.request.stream = True
        opened = self._tunnels.get(flow.client_conn.id, set())
        if flow.request.host in opened:
            opened.discard(flow.request.host)  # the tunnel's first request was counted with it
        else:
            self._count(flow)
        if flow.request.method != "POST" or not (call := self._begun(flow, Exchanged)):
            return
        request, response = (Tee(self._limits.max_conversation_bytes, self._budget, call.address) for _ in range(2))
        if not request.hold(weight(call)):
            return
        exchange = Exchange(flow.client_conn.id, call, request, response)
        self._exchanges[call.number] = flow.metadata[_EXCHANGE] = exchange
        flow.request.stream = request.add

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None:
            return
        flow.response.stream = True
        exchange = flow.metadata.get(_EXCHANGE)
        if exchange is not None:
            exchange.call = replace(
                exchange.call,
                status=flow.response.status_code,
                first_byte=now_ms(),
                response_encoding=flow.response.headers.get("content-encoding", ""),
                response_type=flow.response.headers.get("content-type", "").lower(),
            )
            flow.response.stream = exchange.response.add

    def response(self, flow: http.HTTPFlow) -> None:
        if exchange := flow.metadata.pop(_EXCHANGE, None):
            self._finish(exchange, ended=True)

    def error(self, flow: http.HTTPFlow) -> None:
        if exchange := flow.metadata.pop(_EXCHANGE, None):
            self._finish(exchange, error=flow.error.msg if flow.error else "The connection broke.")

    # --- WebSocket and others ---------------------------------------------------------------------------------------
    def websocket_start(self, flow: http.HTTPFlow) -> None:
        if opened := self._begun(flow, SocketOpened):
            flow.metadata[_SOCKET] = opened.number
            self._pipe.send(opened)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            return
        number = flow.metadata.get(_SOCKET)
        if number is not None:
            message = flow.websocket.messages[-1]
            address = flow.client_conn.peername[0]
            self._pipe.send(SocketMessage(number, address, message.from_client, now_ms(), message.content))
        flow.websocket.messages.clear()  # mitmproxy would keep them all until the end

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        number = flow.metadata.pop(_SOCKET, None)
        if number is not None:
            self._pipe.send(SocketClosed(number, flow.client_conn.peername[0], now_ms()))

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        flow.messages.clear()  # as above

    # ----------------------------------------------------------------------------------------------------------------
    def _count(self, flow: http.HTTPFlow) -> None:
        host = flow.request.host[:_LONGEST_HOST]
        self._pipe.send(DomainSeen(flow.client_conn.peername[0], host, now_ms()))

    def _begun(self, flow: http.HTTPFlow, kind: type[Exchanged]) -> Exchanged | None:
        """A workspace's call of a provider, as far as its request's head tells; None for other traffic."""
        request, address = flow.request, flow.client_conn.peername[0]
        provider = find_provider(self._providers, request.host, request.path)
        if provider is None or self._workspaces.id_of(address) is None:
            return None
        return kind(
            number=next(self._numbers),
            address=address,
            api=provider.api,
            any_host=provider.any_host,
            url=request.url,
            method=request.method,
            secrets=secrets_of(request.headers.items(multi=True), request.url),
            started=int(request.timestamp_start * 1000),
            request_encoding=request.headers.get("content-encoding", ""),
        )

    def _finish(self, exchange: Exchange, *, ended: bool = False, error: str | None = None) -> None:
        if self._exchanges.pop(exchange.call.number, None) is not None:
            self._pipe.finish(exchange, ended=ended, error=error)
