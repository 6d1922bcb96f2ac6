"""The certificate that the gateway serves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

SERVED = Path("gateway") / "tls.pem"


@dataclass(frozen=True)
class Certificate:
    """``names``: the host names that it is for, in lower case."""

    names: frozenset[str]
    begins: datetime
    expires: datetime


def served_certificate(state_dir: Path) -> Certificate | None:
    """What the gateway has; None without TLS, and for a file that holds no certificate."""
    try:
        return parse((state_dir / SERVED).read_bytes())
    except (OSError, ValueError):
        return None


def parse(pem: bytes) -> Certificate:
    """The first certificate of a PEM file. Raises ValueError if there is none."""
    found = x509.load_pem_x509_certificate(pem)
    try:
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(name.lower() for name in named.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = frozenset()
    return Certificate(names, found.not_valid_before_utc.astimezone(UTC), found.not_valid_after_utc.astimezone(UTC))
