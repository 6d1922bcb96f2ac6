"""The image registry that the machines of an installation share, by its HTTP API.

Source: the API's specification, https://distribution.github.io/distribution/spec/api/. Docker itself pushes and pulls;
this module has the calls that Docker lacks.
"""

from __future__ import annotations

import http.client
import json
from contextlib import closing

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from .connections import ClientCertificate

_SECONDS = 10.0
# The kinds of manifests that Docker pushes. Without them the registry makes another one, of an old format.
_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


class ImageRegistry:
    """The registry at ``place``, host and port. Everything raises ENGINE_ERROR when it does not answer or refuses."""

    def __init__(self, place: str, certificate: ClientCertificate) -> None:
        self._place = place
        self._certificate = certificate

    def names(self, repository: str) -> list[str]:
        """The images of a repository, as ``repository:tag``."""
        _, tags = self._ask("GET", f"/v2/{repository}/tags/list")
        return [f"{repository}:{tag}" for tag in (json.loads(tags)["tags"] if tags else None) or ()]

    def delete(self, name: str) -> bool:
        """Deletes an image; returns False if it does not exist. Its layers stay until the registry collects garbage."""
        repository, _, tag = name.rpartition(":")
        digest, _ = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}")
        if digest is None:
            return False
        self._ask("DELETE", f"/v2/{repository}/manifests/{digest}")
        return True

    def _ask(self, method: str, path: str) -> tuple[str | None, bytes]:
        """The digest and the body of a response; None and empty if it does not exist."""
        host, _, port = self._place.rpartition(":")
        try:
            tls = self._certificate.tls()
            with closing(http.client.HTTPSConnection(host, int(port), timeout=_SECONDS, context=tls)) as connection:
                connection.request(method, path, headers={"Accept": _MANIFESTS if "/manifests/" in path else "*/*"})
                answer = connection.getresponse()
                body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            silent = Message("images.silent", registry=self._place, kind=type(error).__name__)
            raise AtelierError(Code.ENGINE_ERROR, silent, field="site.image_registry") from error
        if answer.status == 404:
            return None, b""
        if answer.status >= 300:
            refused = Message("images.refused", registry=self._place, method=method, path=path, status=answer.status)
            raise AtelierError(Code.ENGINE_ERROR, refused, field="site.image_registry")
        return answer.headers["Docker-Content-Digest"], body
