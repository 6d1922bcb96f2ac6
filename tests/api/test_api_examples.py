"""The example programs of docs/api.md, taken from there and run: curl, Node and Python against the running API."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Api
from tests.module.installation import REPOSITORY

SAMPLE_ID = "abc123def456"


def example(language: str) -> str:
    guide = (REPOSITORY / "docs" / "api.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    return str(found)


def adapted(program: str, api: Api) -> str:
    """The program, word for word but for the API's address."""
    return program.replace("http://localhost/api", f"http://127.0.0.1:{api.port}/api")


def output_of(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def nobody_left(api: Api) -> Any:
    yield
    api.wait_for_quiet()
    for project in api.get("/api/projects/").json()["projects"]:
        if project["name"].startswith(("my-web-app", "test-app", "from-a-page")):
            api.instance.forget(project)


def test_curl_session(api: Api, nobody_left: None) -> None:
    steps = re.split(r"^# (?=\d\. )", adapted(example("bash"), api), flags=re.MULTILINE)[1:]
    assert [step[0] for step in steps] == list("12345678")
    project_id = SAMPLE_ID
    answers = []
    for step in steps:
        _, _, command = step.partition("\n")
        text = output_of("bash", "-ec", command.replace("curl ", "curl -sS ").replace(SAMPLE_ID, project_id))
        answers.append(json.loads(text))
        if "project" in answers[-1] and project_id == SAMPLE_ID:
            project_id = answers[-1]["project"]["id"]
        if "jobId" in answers[-1]:
            # Twenty seats are for the bench; that they were all reserved is seen.
            api.post(f"/api/jobs/{answers[-1]['jobId']}/cancel")
            api.ended(answers[-1]["jobId"])
    health, created, details, listed, stopped, started, cloned, deleted = answers
    assert health["status"] == "ok"
    assert (created["success"], created["password"]) == (True, "secure123!")
    assert (created["project"]["name"], created["project"]["status"]) == ("my-web-app", "running")
    assert details["project"]["container"]["status"] == "running"
    assert project_id in [project["id"] for project in listed["projects"]]
    assert listed["count"] == len(listed["projects"])
    assert stopped == {"success": True, "message": "Workspace stopped successfully", "projectId": project_id}
    assert (started["message"], started["project"]["status"]) == ("Workspace started successfully", "running")
    assert cloned["message"] == 'Cloning 20 workspaces from "my-web-app"'
    assert (cloned["totalCount"], len(cloned["clones"])) == (20, 20)
    assert deleted == {"success": True, "message": "Project deleted successfully", "projectId": project_id}


def test_javascript_functions(api: Api, nobody_left: None) -> None:
    """With a template that a default installation does not have the image of."""
    node = shutil.which("node")
    assert node, "Node is missing; Debian's package nodejs has it."
    program = f"""
    const byBrowser = globalThis.fetch;
    globalThis.fetch = (path, options) => byBrowser('http://127.0.0.1:{api.port}' + path, options);
    {example("javascript")}
    (async () => {{
      await createWorkspace('from-a-page', 'nodejs-react');
      await createWorkspace('from-a-page', 'nodejs-react');
      const made = (await listProjects()).find((project) => project.name === 'from-a-page');
      console.log(JSON.stringify(await stopWorkspace(made.id)));
    }})();
    """
    created, stopped = output_of(node, "-", text=program).splitlines()
    assert re.fullmatch(r"Workspace created: http://[0-9a-f]{12}\.localhost/", created)
    assert json.loads(stopped)["message"] == "Workspace stopped successfully"


def test_python_program(api: Api, nobody_left: None, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(adapted(example("python"), api))
    created, status, stopped = output_of(sys.executable, str(program)).splitlines()
    assert re.fullmatch(r"Created workspace: [0-9a-f]{12}", created)
    assert status == "Status: running"
    assert stopped == "Stop result: True"
