"""Setting the exact configuration of an image in Docker."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from atelier.engine.image_config import config_only_archive, dockerfile_changes, override_config

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


def test_a_commit_is_told_to_overrule_what_is_the_container_s_alone() -> None:
    wanted = {"Env": ["PATH=/bin"], "Labels": {"atelier.image": "workspace"}, "User": "coder"}
    container = {
        "Env": ["PATH=/other", "HTTP_PROXY=http://x"],
        "Labels": {"atelier.image": "x", "atelier.name": "Base"},
    }
    assert override_config(wanted, container) == {
        "Env": ["PATH=/bin", "HTTP_PROXY="],
        "Labels": {"atelier.image": "workspace", "atelier.name": ""},
        "User": "coder",
    }
    assert override_config({"User": "coder"}, {"Env": None, "Labels": None}) == {
        "User": "coder",
        "Env": [],
        "Labels": {},
    }


def test_a_configuration_as_instructions() -> None:
    config = {
        "Labels": {'a "quoted" key': "$HOME"},
        "Env": ["PATH=/bin:/usr/bin", "EMPTY=", "SAID=a=b $c"],
        "User": "coder",
        "WorkingDir": "/work space",
        "ExposedPorts": {"8082/tcp": {}},
        "Volumes": None,
        "Cmd": None,
        "Entrypoint": ["/usr/bin/tini", "--", "a b"],
    }
    assert dockerfile_changes(config) == [
        'LABEL "a \\"quoted\\" key"="\\$HOME"',
        'ENV PATH="/bin:/usr/bin"',
        'ENV EMPTY=""',
        'ENV SAID="a=b \\$c"',
        'USER "coder"',
        'WORKDIR "/work space"',
        "EXPOSE 8082/tcp",
        'ENTRYPOINT ["/usr/bin/tini", "--", "a b"]',
    ]
    assert dockerfile_changes({}) == []
