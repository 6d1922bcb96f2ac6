"""Templates without an image: a create builds it first, once for all callers, and reports that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from tests.api.conftest import PREFIX
from tests.api.running import Api, is_error
from tests.waiting import eventually


@pytest.fixture
def template(tmp_path: Path, engine: docker.DockerClient) -> Iterator[Path]:
    """A template of the site's own. Its image is removed at the end."""
    folder = tmp_path / "templates" / "probe"
    (folder / "skeleton").mkdir(parents=True)
    (folder / "skeleton" / "hello.txt").write_text("hello\n")
    # Another path for each test, so that nothing of it is in the build cache.
    (folder / "prepare.sh").write_text(f"echo {tmp_path} >made-in.txt\n")
    yield folder
    with suppress(ImageNotFound):
        engine.images.remove(f"{PREFIX}/workspace:probe", force=True)


@pytest.fixture
def building(own: Callable[..., Api], template: Path) -> Api:
    """An API that knows the template, and has no image of it."""
    api = own(api_templates=["empty", "probe"])
    builds = {**api.instance.site()["builds"], "template_dirs": [str(template.parent)]}
    return own(api_templates=["empty", "probe"], builds=builds).start()


def steps(api: Api, job_id: str) -> list[str]:
    return [event["data"]["text"] for event in api.events(job_id) if event["event"] == "progress"]


def test_a_create_builds_a_missing_image_first(building: Api) -> None:
    assert building.get("/api/config").json()["config"]["templates"] == ["empty", "probe"]
    made = building.create("first", projectType="probe")
    assert (made["status"], made["type"]) == ("running", "probe")
    assert building.instance.container(made).exec_run(["cat", "hello.txt"]).output == b"hello\n"
    job = building.newest_job("create")
    assert job is not None
    assert steps(building, job["id"])[0] == "building the template probe (0 s)"
    _, again = building.begin("second", projectType="probe")
    assert building.ended(again)["state"] == "successful"
    assert not [step for step in steps(building, again) if "template" in step]


def test_two_creates_at_once_build_it_once(building: Api, template: Path) -> None:
    with (template / "prepare.sh").open("a") as file:
        file.write("sleep 5\n")
    jobs = [building.begin(name, projectType="probe")[1] for name in ("one", "two")]
    assert [building.ended(job)["state"] for job in jobs] == ["successful", "successful"]
    told = [steps(building, job) for job in jobs]
    assert len([1 for each in told if any(step.startswith("building the template") for step in each)]) == 1, told


def test_a_build_that_fails_leaves_the_workspace_in_error_with_the_reason(building: Api, template: Path) -> None:
    (template / "prepare.sh").write_text("echo The registry is closed today.\nexit 3\n")
    order = {"projectName": "broken", "projectType": "probe"}
    body = is_error(building.post("/api/projects/create", order), 500, "TEMPLATE_BUILD_FAILED")
    assert "The template 'probe' could not be built: The registry is closed today." in body["error"]
    (project,) = building.get("/api/projects/").json()["projects"]
    assert (project["status"], body["error"] in project["error"]) == ("error", True)
    # Its start, once the cause is gone, builds again.
    (template / "prepare.sh").unlink()
    assert building.post(f"/api/projects/{project['id']}/start").status_code == 200
    assert building.status(project["id"]) == "running"


def test_a_build_that_does_not_end_is_ended(building: Api, own: Callable[..., Api], template: Path) -> None:
    (template / "prepare.sh").write_text("sleep 600\n")
    building.close()
    builds = {**building.instance.site()["builds"], "template_dirs": [str(template.parent)], "seconds": 5}
    api = own(api_templates=["probe"], builds=builds).start()
    body = is_error(
        api.post("/api/projects/create", {"projectName": "endless", "projectType": "probe"}),
        500,
        "TEMPLATE_BUILD_FAILED",
    )
    assert "was not built within 5 seconds" in body["error"]


def test_a_create_that_is_canceled_ends_its_build(building: Api, template: Path) -> None:
    (template / "prepare.sh").write_text("sleep 600\n")
    id, job = building.begin("canceled", projectType="probe")
    next(event for event in building.stream(job) if "building" in str(event["data"]))
    assert building.post(f"/api/jobs/{job}/cancel").status_code == 202
    assert building.ended(job)["state"] == "canceled"
    assert building.status(id) == "error"
    assert building.executions() == []


def test_a_workspace_gets_the_image_of_the_changed_template(building: Api, template: Path) -> None:
    made = building.create("aged", projectType="probe")
    assert made["imageOutdated"] is False
    container = building.instance.container(made)
    assert container.exec_run(["sh", "-c", "echo mine >work && mkdir ~/own"]).exit_code == 0
    (template / "skeleton" / "hello.txt").write_text("newer\n")
    (template / "image").write_text("RUN touch /opt/newer\n")
    # Which it looks for every minute, and when it starts.
    building.terminate()
    building.wait()
    building.start()
    path = f"/api/projects/{made['id']}"
    eventually(lambda: building.get(path).json()["project"]["imageOutdated"], "the image is known to be old")
    answer = building.post(f"{path}/upgrade")
    assert answer.status_code == 200, answer.text
    project = answer.json()["project"]
    assert (answer.json()["upgraded"], project["status"], project["passwordProtected"]) == (True, "running", False)
    eventually(lambda: not building.get(path).json()["project"]["imageOutdated"], "the image is known to be new")
    look = building.instance.container(made).exec_run(["sh", "-c", "cat work hello.txt; ls -d ~/own /opt/newer"])
    assert look.output == b"mine\nhello\n/home/coder/own\n/opt/newer\n"
    again = building.post(f"{path}/upgrade").json()
    assert (again["upgraded"], again["message"]) == (False, "The workspace has the present image")
    is_error(building.post(f"/api/projects/{'0' * 12}/upgrade"), 404, "PROJECT_NOT_FOUND")

    assert building.put(f"{path}/group", {"group": "aging"}).status_code == 200
    (template / "image").write_text("RUN touch /opt/newest\n")
    begun = building.post("/api/projects/upgrade", {"group": "aging"})
    assert (begun.status_code, begun.json()["projectIds"]) == (202, [made["id"]])
    assert building.ended(begun.json()["jobId"])["state"] == "successful"
    assert building.instance.container(made).exec_run(["ls", "/opt/newest"]).exit_code == 0
    is_error(building.post("/api/projects/upgrade", {"group": "nobody"}), 404, "PROJECT_NOT_FOUND")
    for neither_or_both in ({}, {"group": "aging", "all": True}):
        is_error(building.post("/api/projects/upgrade", neither_or_both), 400, "VALIDATION_ERROR")
