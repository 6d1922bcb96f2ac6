"""Addresses of git repositories as people type them, and what opens them. Nothing is resolved here: a name is looked up
in the seat, whose firewall keeps it from the host and from the cloud's metadata service, whatever the name leads to."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from ..common.errors import invalid

_LONGEST_URL = 2048
_LONGEST_USER = 255
_LONGEST_TOKEN = 4096
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Must be encoded in an address: a space as %20, an international name in punycode.
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")
_LOCAL_NAMES = re.compile(r"(?:.*\.)?(?:localhost|localdomain|ip6-localhost|ip6-loopback)")
_METADATA_NAMES = {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
# Metadata services with the machine's credentials, besides link-local addresses (AWS, Google, Alibaba, Azure).
_METADATA = {
    *map(IPv4Address, ("100.100.100.200", "168.63.129.16")),
    *map(IPv6Address, ("fd00:ec2::254", "fd20:ce::254")),
}
_DEFAULT_USER = "git"


@dataclass(frozen=True)
class GitAccess:
    """A user and a token that open a repository. Many services ignore the user's name."""

    user: str
    token: str = field(repr=False)

    def for_git(self) -> bytes:
        """The lines that a credential helper prints."""
        return f"username={self.user}\npassword={self.token}\n".encode()


def check_git_url(url: str, name: str = "git_url") -> str:
    """An http or https address of a repository, without credentials in it, on another machine than this.

    Raises VALIDATION_ERROR, which names ``name`` as the parameter and never holds what may be a password.
    """
    if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
        # Check this first: other errors would show the address.
        raise invalid("git_url.credentials", name)
    if len(url) > _LONGEST_URL:
        raise invalid("input.too_long", name, count=len(url), most=_LONGEST_URL)
    if _NOT_IN_A_URL.search(url):
        raise invalid("git_url.character", name, url=url[:80])
    if url.startswith("-") or not re.match(r"https?://", url, re.IGNORECASE):
        raise invalid("git_url.scheme", name, url=url[:80])
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError as error:
        raise invalid("git_url.unreadable", name, url=url[:80], why=error) from error
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise invalid("git_url.query", name, url=url[:80])
    segments = parts.path.split("/")
    if not parts.path.strip("/") or any(segment.startswith("-") for segment in segments):
        raise invalid("git_url.path", name, path=parts.path[:80])
    _check_host(host, parts.netloc, name)
    return url


def check_git_access(user: str | None, token: str | None) -> GitAccess | None:
    """Returns the credentials, or None if none are given. Raises VALIDATION_ERROR, never with the token."""
    if not user and not token:
        return None
    if not token:
        raise invalid("input.requires", "git_token", given="git_username", other="git_token")
    user = user or _DEFAULT_USER
    for name, value, longest in (("git_username", user, _LONGEST_USER), ("git_token", token, _LONGEST_TOKEN)):
        if len(value) > longest:
            raise invalid("input.too_long", name, count=len(value), most=longest)
        if _CONTROL.search(value):
            raise invalid("git_url.access_control", name)
    return GitAccess(user, token)


def _check_host(host: str, netloc: str, name: str) -> None:
    if netloc.startswith("["):
        address = _ipv6(host)
        # Such as 1:2::3%eth0: which interface, the seat alone would know.
        if address is None:
            raise invalid("git_url.no_host", name, host=netloc[:80])
    else:
        if not _HOST.fullmatch(host):
            raise invalid("git_url.no_host", name, host=host[:80])
        address = _ipv4(host)
    local = _LOCAL_NAMES.fullmatch(host) or host in _METADATA_NAMES
    if local or (address is not None and _is_forbidden(address)):
        raise invalid("git_url.this_machine", name, host=host[:80])


def _ipv4(host: str) -> IPv4Address | None:
    """The address if the C library accepts the name as one, in any notation: 2130706433, 0x7f.1, 0177.0.0.1."""
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _ipv6(host: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 address that is only wrapped in one is unwrapped."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address) or address.scope_id:
        return None
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    # ::a.b.c.d, and 64:ff9b::a.b.c.d, which a NAT64 would take there (RFC 6052).
    wrapped = (int(address) >> 32 == 0 and int(address) > 1) or int(address) >> 32 == 0x64FF9B << 64
    return address.ipv4_mapped or address.sixtofour or (low if wrapped else address)


def _is_forbidden(address: IPv4Address | IPv6Address) -> bool:
    # 0.0.0.0/8 is this host, for Linux.
    this_host = isinstance(address, IPv4Address) and int(address) >> 24 == 0
    return (
        this_host
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
    )
