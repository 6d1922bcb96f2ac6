"""Connections to engines and other machines: addresses, the certificates by which the machines of an installation know
each other (the role pki makes them), and how soon the loss of a machine is noticed."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import docker
    from requests.adapters import HTTPAdapter

# A machine that lost its network says nothing. Its connections end after this long without an answer of its kernel.
_LOST_SECONDS = 10
_PROBE_SECONDS = 3


@dataclass(frozen=True)
class ClientCertificate:
    """The files of one client role, such as ``engine-client``, and of the authority that servers must be signed by."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, pki: Path, role: str) -> ClientCertificate:
        return cls(pki / "ca.crt", pki / f"{role}.crt", pki / f"{role}.key")

    def tls(self) -> ssl.SSLContext:
        """The TLS context for connections that check the server's name; created once per certificate, since that takes
        some milliseconds. Raises OSError for a missing or broken file."""
        return _context(self, self.certificate.stat().st_mtime_ns)


@lru_cache(8)
def _context(files: ClientCertificate, renewed_at: int) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)
    return context


def address_of(url: str) -> str | tuple[str, int]:
    """The path of a Unix socket, or host and port."""
    place = urlsplit(url)
    return place.path if place.scheme.endswith("unix") else (place.hostname or "localhost", place.port or 2375)


def secured_client(url: str, certificate: ClientCertificate, version: str, patience: int) -> docker.APIClient:
    """The SDK's client for another machine's engine. Creating it sends no request."""
    import docker

    tls = docker.tls.TLSConfig(
        client_cert=(str(certificate.certificate), str(certificate.key)),
        ca_cert=str(certificate.authority),
        verify=True,
    )
    client = docker.APIClient(base_url=url, version=version, timeout=patience, tls=tls)
    # The environment's proxies and certificate authorities are for the internet.
    client.trust_env = False
    client.mount("https://", _watched_connections())
    return client


def _watched_connections() -> HTTPAdapter:
    """Without this adapter a read from a machine that was lost would wait for its whole timeout."""
    from requests.adapters import HTTPAdapter

    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _LOST_SECONDS // _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOST_SECONDS * 1000),
        (socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]

    class Watched(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
            super().init_poolmanager(*arguments, **more, socket_options=options)

    return Watched()
