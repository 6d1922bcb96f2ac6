"""The certificates by which the machines of an installation know each other (the role pki makes them)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
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
        """For connections that check the server's name. Raises OSError for a missing or broken file."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context
