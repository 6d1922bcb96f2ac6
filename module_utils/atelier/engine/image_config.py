"""Sets an image's run configuration exactly in Docker. Pure.

Docker's classic image store accepts an archive with a configuration and no layers (the format of ``docker load``).
containerd's store, the default of new installations since Docker 29, does not: there a commit gets the values to
override, and an import the values to set.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from ..common.timestamps import timestamp
from .models import File, archive_of

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def config_only_archive(tag: str, config: Mapping[str, Any], layers: Sequence[str]) -> bytes:
    """The tar archive of an image with that tag, run configuration and layer digests, which Docker must have already.

    Source: the OCI image specification's config, and the manifest.json that ``docker save`` writes.
    """
    moment = timestamp(datetime.now(UTC), "microseconds")
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
    files = {name: data, "manifest.json": json.dumps(manifest).encode()}
    return archive_of(File(PurePosixPath(path), content, 0, 0, 0o644) for path, content in files.items())


def override_config(wanted: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to commit a container with, so that its environment and labels do not remain.

    Docker merges the container's own values into it and cannot remove them, so they get empty values here.
    """
    names = {entry.partition("=")[0] for entry in wanted.get("Env") or ()}
    others = [entry.partition("=")[0] for entry in container.get("Env") or ()]
    environment = [*(wanted.get("Env") or ()), *(f"{name}=" for name in others if name not in names)]
    labels = {**dict.fromkeys(container.get("Labels") or {}, ""), **(wanted.get("Labels") or {})}
    return {**wanted, "Env": environment, "Labels": labels}


def dockerfile_changes(config: Mapping[str, Any]) -> list[str]:
    """The same as instructions of a Dockerfile, as an import takes them. Source: Docker's reference of ``import``."""
    lists = [(name, config.get(key)) for name, key in (("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd"))]
    texts = [(name, config.get(key)) for name, key in (("USER", "User"), ("WORKDIR", "WorkingDir"))]
    signal = config.get("StopSignal")
    return [
        *(f"LABEL {_quoted(key)}={_quoted(value)}" for key, value in (config.get("Labels") or {}).items()),
        *(f"ENV {name}={_quoted(value)}" for name, _, value in (e.partition("=") for e in config.get("Env") or ())),
        *(f"{name} {_quoted(text)}" for name, text in texts if text),
        *(f"EXPOSE {port}" for port in config.get("ExposedPorts") or ()),
        *(f"VOLUME {json.dumps([path])}" for path in config.get("Volumes") or ()),
        *([f"STOPSIGNAL {signal}"] if signal else []),
        *(f"{name} {json.dumps(words)}" for name, words in lists if words),
    ]


def _quoted(text: str) -> str:
    return json.dumps(text).replace("$", "\\$")
