"""A seat's proxy: its environment, and the certificate authority of a proxy that intercepts TLS."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIT_HOST, ProxyMode, Site, Workspace
from ..common.plain_text import last_of
from ..engine.models import File
from .context import NodeContext

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LARGEST_CERTIFICATE = 1024**2
_LARGEST_BUNDLE = 16 * 1024**2
_UPDATE = "/usr/sbin/update-ca-certificates"
# Java takes some seconds for its own bundle.
_UPDATE_SECONDS = 120.0
# The folder of update-ca-certificates (Debian) for a site's own certificate authorities.
_CA_FOLDER = PurePosixPath("/usr/local/share/ca-certificates")


def _ca_in_seat(mode: ProxyMode) -> PurePosixPath:
    return _CA_FOLDER / f"atelier-{mode.proxy}.crt"


def proxy_environment(site: Site, mode: ProxyMode) -> dict[str, str]:
    """The environment of a seat's programs: its proxy, in all common spellings, and its certificate authority."""
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
    # Node and Java do not look at these by themselves.
    others = {"NODE_USE_ENV_PROXY": "1", "JAVA_TOOL_OPTIONS": java}
    environment = told | {name.upper(): value for name, value in told.items()} | others
    if mode.intercepts:
        # Variables for programs that ignore Debian's bundle.
        bundled = ("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        environment |= dict.fromkeys(bundled, _BUNDLE) | {"NODE_EXTRA_CA_CERTS": str(_ca_in_seat(mode))}
    return environment


def put_proxy_ca(context: NodeContext, workspace: Workspace) -> bool:
    """Puts the certificate of its proxy's authority into a seat before its start, if the proxy opens TLS. Returns
    whether the seat does not trust it yet: a clone's snapshot may have it already."""
    mode = workspace.proxy_mode
    if not mode.intercepts:
        return False
    inside = _ca_in_seat(mode)
    try:
        certificate = (mode.proxy_folder(context.site.state_dir) / "ca.pem").read_bytes()
    except OSError as error:
        unreadable = Message("proxy_ca_unreadable", proxy=mode.proxy, why=error)
        raise AtelierError(Code.EGRESS_ERROR, unreadable, field="proxy_mode") from error
    name = context.site.container_name(workspace.id)
    present = _content(context, name, str(inside), _LARGEST_CERTIFICATE)
    # Also the bundle: a run that was killed may have put the file, and no more.
    if present == certificate and certificate in _content(context, name, _BUNDLE, _LARGEST_BUNDLE):
        return False
    context.engine.put(name, str(inside.parent), [File(inside, certificate, 0, 0, 0o644)])
    return True


def _content(context: NodeContext, container: str, path: str, limit: int) -> bytes:
    found = context.engine.read(container, path, limit)
    return (found.first_file() if found else None) or b""


def trust_proxy_ca(context: NodeContext, container: str) -> None:
    """Takes it into the bundles of Debian and Java, in the running seat, as root."""
    # Safe as root: it runs and reads only root's files, and the engine's PATH has no folder of the seat's user.
    code, output = context.engine.execute(container, [_UPDATE], seconds=_UPDATE_SECONDS, user="root")
    if code != 0:
        refused = Message("proxy_ca_refused", container=container, said=last_of(output, 300))
        raise AtelierError(Code.EGRESS_ERROR, refused)
