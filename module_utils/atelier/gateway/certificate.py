"""The certificates that an installation has: the gateway's, and those between its machines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from ..common.models import CONTROLLER, Site

SERVED = Path("gateway") / "tls.pem"


@dataclass(frozen=True)
class Certificate:
    """``names``: the host names that it is for, in lower case."""

    names: frozenset[str]
    begins: datetime
    expires: datetime


def read_certificate(file: Path) -> Certificate | None:
    """The first certificate of the file; None if it is missing or holds no certificate."""
    try:
        return parse(file.read_bytes())
    except (OSError, ValueError):
        return None


def machine_certificates_expire(site: Site) -> dict[str, datetime]:
    """The time when the first certificate expires that the installation's authority signed, by machine. Empty on a
    single machine; machines without readable certificates are left out."""
    folders = {node.name: site.pki / "nodes" / node.name for node in site.nodes}
    if folders:
        folders[CONTROLLER] = site.pki
    # The authority's own outlives them, and up does not renew it.
    files = {name: [file for file in folder.glob("*.crt") if file.name != "ca.crt"] for name, folder in folders.items()}
    found = {name: [each.expires for each in map(read_certificate, paths) if each] for name, paths in files.items()}
    return {name: min(moments) for name, moments in found.items() if moments}


def parse(pem: bytes) -> Certificate:
    """The first certificate of a PEM file. Raises ValueError if there is none."""
    found = x509.load_pem_x509_certificate(pem)
    try:
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(name.lower() for name in named.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = frozenset()
    return Certificate(names, found.not_valid_before_utc.astimezone(UTC), found.not_valid_after_utc.astimezone(UTC))
