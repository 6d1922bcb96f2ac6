"""A seat's way out: what programs in it are told of its proxy, and the recorder's authority, which they trust."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from .engine import File
from .errors import AtelierError, Code
from .messages import Message
from .model import GIT_HOST, ProxyMode, Site, Workspace
from .plain import last_of
from .platform import Platform

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LARGEST_CERTIFICATE = 1024**2
_UPDATE = "/usr/sbin/update-ca-certificates"
# Java takes some seconds for its own bundle.
_UPDATE_SECONDS = 120.0
# Where Debian's update-ca-certificates finds a site's own authorities.
_CA_IN_SEAT = PurePosixPath("/usr/local/share/ca-certificates/atelier-recorder.crt")


def recorder_ca(state_dir: Path) -> Path:
    """The certificate of the recorder's authority, made once an installation by its role."""
    return state_dir / "recorder" / "ca.pem"


def proxy_environment(site: Site, mode: ProxyMode) -> dict[str, str]:
    """The environment of a seat's programs: its proxy, in the spellings that they read, and what to trust."""
    network = site.networks[mode]
    if network.proxy_port is None:
        return {}
    proxy = f"http://{network.host_address}:{network.proxy_port}"
    direct = ",".join(("localhost", "127.0.0.1", "::1", network.host_address, GIT_HOST, site.domain, f".{site.domain}"))
    java = " ".join(
        f"-D{scheme}.proxyHost={network.host_address} -D{scheme}.proxyPort={network.proxy_port}"
        for scheme in ("http", "https")
    )
    told = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": direct}
    environment = told | {name.upper(): value for name, value in told.items()}
    # Node and Java do not look at these by themselves.
    environment |= {"NODE_USE_ENV_PROXY": "1", "JAVA_TOOL_OPTIONS": java}
    if mode is ProxyMode.LOGGING:
        # For what brings a bundle of its own and would not look at Debian's.
        bundled = ("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        environment |= dict.fromkeys(bundled, _BUNDLE) | {"NODE_EXTRA_CA_CERTS": str(_CA_IN_SEAT)}
    return environment


def put_recorder_ca(platform: Platform, workspace: Workspace) -> bool:
    """Puts the authority's certificate into a seat that is recorded, before its start. Returns whether it lacked it:
    a clone's snapshot may have it already."""
    if workspace.proxy_mode is not ProxyMode.LOGGING:
        return False
    file = recorder_ca(platform.site.state_dir)
    try:
        certificate = file.read_bytes()
    except OSError as error:
        raise AtelierError(
            Code.EGRESS_ERROR,
            Message("recorder_ca_unreadable", why=error),
            field="proxy_mode",
        ) from error
    name = platform.site.container_name(workspace.id)
    present = platform.engine.read(name, str(_CA_IN_SEAT), _LARGEST_CERTIFICATE)
    if present is not None and present.first_file() == certificate:
        return False
    platform.engine.put(name, str(_CA_IN_SEAT.parent), [File(_CA_IN_SEAT, certificate, 0, 0, 0o644)])
    return True


def trust_recorder_ca(platform: Platform, container: str) -> None:
    """Takes it into the bundles of Debian and Java, in the running seat, as root."""
    # All that it runs and reads is root's: the engine gives it a PATH without a folder of the seat's user.
    code, output = platform.engine.execute(container, [_UPDATE], seconds=_UPDATE_SECONDS, user="root")
    if code != 0:
        raise AtelierError(
            Code.EGRESS_ERROR,
            Message("recorder_ca_refused", container=container, said=last_of(output, 300)),
        )
