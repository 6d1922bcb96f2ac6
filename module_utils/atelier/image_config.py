"""An image archive that has a configuration and no layers (the format of ``docker load``)."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def config_only_archive(tag: str, config: Mapping[str, Any], layers: Sequence[str]) -> bytes:
    """The tar archive of an image with that tag, run configuration and layer digests, which Docker must have already.

    Source: the OCI image specification's config, and the manifest.json that ``docker save`` writes.
    """
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    machine = platform.machine()
    document = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "created": moment,
        "config": dict(config),
        "history": [{"created": moment, "created_by": "atelier"} for _ in layers],
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
    }
    data = json.dumps(document).encode()
    name = f"{hashlib.sha256(data).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [f"{place}/layer.tar" for place, _ in enumerate(layers)]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in ((name, data), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
