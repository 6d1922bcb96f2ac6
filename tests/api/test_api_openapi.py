"""The OpenAPI document: complete, with examples and errors, and true according to schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from atelier.ansible_module import parse_site
from atelier.common.models import Status, Workspace
from atelier.database.workspace_store import WorkspaceStore, new_id

from tests.api.running import Api
from tests.waiting import eventually


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    return dict(api.get("/api/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_documented(document: dict[str, Any]) -> None:
    seen: set[str] = set()
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("description"), where
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])
        answers = operation["responses"]
        # A bad request is 400; only a word that is reserved is refused with 422.
        assert "422" not in answers or where == "POST /api/projects/{project_id}/aliases", where
        assert {"200", "201", "202", "503"} & answers.keys(), where
        for status, answer in answers.items():
            if status.startswith(("4", "5")):
                example = answer["content"]["application/json"]["example"]
                assert {"success", "error", "code", "details"} <= example.keys(), where
                assert answer["content"]["application/json"]["schema"]["$ref"].endswith(("/Error", "/ClaimRefused")), (
                    where
                )
        if "{project_id}" in path or "{job_id}" in path:
            assert "404" in answers, where


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]  # an optional body may also be null
            body = document["components"]["schemas"][reference.rpartition("/")[2]]
            assert body["examples"], f"{method} {path}"
            assert body["examples"][0].keys() <= body["properties"].keys()


def test_it_says_what_the_contract_does(document: dict[str, Any]) -> None:
    addresses = {(method, path) for method, path, _ in operations(document)}
    project = "/api/projects/{project_id}"
    for wanted in (
        ("POST", "/api/projects/create"),
        ("GET", project),
        ("GET", "/api/projects/"),
        ("DELETE", project),
        ("POST", f"{project}/start"),
        ("POST", f"{project}/stop"),
        ("GET", "/api/projects/groups"),
        ("GET", f"{project}/disk-usage"),
        *((method, f"{project}/notes") for method in ("GET", "PUT")),
        ("PUT", f"{project}/name"),
        ("PUT", f"{project}/group"),
        ("PUT", f"{project}/password"),
        ("POST", f"{project}/clone"),
        ("GET", f"{project}/squid-logs"),
        ("GET", f"{project}/recorded-domains"),
        *((method, f"{project}/llm-conversations") for method in ("GET", "DELETE")),
        ("DELETE", f"{project}/llm-conversations/{{timestamp}}"),
        ("POST", f"{project}/generate-documentation"),
        *((method, "/api/whitelist") for method in ("GET", "POST", "PUT")),
        ("GET", "/api/workshop/status"),
        ("POST", "/api/workshop/claim"),
        ("GET", "/api/workshop/claims"),
        ("POST", "/api/workshop/claims/{project_id}/release"),
        *((method, "/api/git/repositories") for method in ("GET", "POST")),
        ("GET", "/api/health"),
        ("GET", "/api/config"),
        ("GET", "/api/limits"),
        ("GET", "/api/workspace/stats"),
        ("POST", "/api/workspace/cleanup"),
    ):
        assert wanted in addresses, wanted


def test_docs_page(api: Api) -> None:
    assert api.get("/api/docs").status_code == 200


# --- schemathesis ---------------------------------------------------------------------------------------------------

# Here for what is wrong, and for the shape of every answer: Docker is out of reach, so changes end in 503 and no
# container is made. That what is right succeeds is asked with the state that it needs, in test_api_valid.py.
CONFIG = """
[parameters]
"path.project_id" = "{project}"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]

[checks.positive_data_acceptance]
enabled = false

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "429", "503"]
"""


@pytest.fixture
def without_docker(tmp_path: Path) -> Iterator[Api]:
    """An API whose Docker is nowhere, with two rows for the reads to show."""
    from tests.api.conftest import make_instance

    instance = make_instance("atelier-api-nowhere")
    api = Api(instance, engine_url=f"unix://{tmp_path / 'docker.sock'}")
    site = parse_site(instance.site())
    with WorkspaceStore(site.state_dir, site.networks, site.quotas) as store:
        orders = [Workspace(new_id(), name, "empty") for name in ("first", "second")]
        for row in store.reserve(orders):
            store.update(row.id, status=Status.STOPPED)
    api.start(wait=False)
    eventually(api.answers, "the API answers")
    yield api
    api.close()
    instance.remove()


@pytest.mark.timeout(1600)  # thousands of requests
def test_every_answer_is_as_documented(without_docker: Api, tmp_path: Path) -> None:
    api = without_docker
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(project=api.instance.row("first")["id"]))
    asked = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
            *("run", f"http://127.0.0.1:{api.port}/api/openapi.json"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--no-color"),
            *("--generation-deterministic", "--continue-on-failure"),
            # A stream has no schema, and the document itself is not in it.
            *("--exclude-path-regex", "/events$", "--warnings", "off"),
            # A machine that is slow today is no fault of an answer.
            *("--suppress-health-check", "too_slow"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-30000:] + asked.stderr[-2000:]
    assert "Traceback" not in api.read_log(), api.read_log()[-4000:]
