"""The archive of an image that has a configuration and no layers."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from atelier.image_config import config_only_archive

LAYERS = ["sha256:" + "1" * 64, "sha256:" + "2" * 64]


def test_it_holds_the_configuration_under_its_digest_and_no_layer() -> None:
    config = {"Env": ["A=1"], "Labels": {"x": "y"}}
    with tarfile.open(fileobj=io.BytesIO(config_only_archive("repo/name:tag", config, LAYERS))) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(files["manifest.json"])
    assert sorted(files) == sorted(["manifest.json", manifest["Config"]])
    assert manifest["RepoTags"] == ["repo/name:tag"]
    assert len(manifest["Layers"]) == 2
    data = files[manifest["Config"]]
    assert manifest["Config"] == f"{hashlib.sha256(data).hexdigest()}.json"
    document = json.loads(data)
    assert document["config"] == config
    assert document["rootfs"] == {"type": "layers", "diff_ids": LAYERS}
    # One entry for each layer, or Docker refuses the image; nothing of where it came from.
    assert [entry["created_by"] for entry in document["history"]] == ["atelier", "atelier"]
    assert "container_config" not in document
