"""The certificates by which the machines of an installation know each other (the role pki makes them)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


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
