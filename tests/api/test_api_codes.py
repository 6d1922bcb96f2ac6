"""The API with every English sentence of the core replaced by its code: the pages still speak German."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Api, eventually, project_copy

ADMIN = {"X-Admin-Password": "canary-admin-Wz8"}
GERMAN = {"Accept-Language": "de", "Accept": "text/html"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = project_copy(tmp_path)
    with (made / "module_utils" / "atelier" / "common" / "texts.py").open("a") as file:
        # What joins or wraps others is no sentence.
        file.write('\nfrom string import Formatter\n_WRAPS = {"sentences", "list", "fault"}\n')
        # With the placeholders, since a file of words must have the same; nothing is shown of them.
        file.write(
            "_HIDDEN = lambda text: ''.join('{%s!s:.0}' % name for _, name, _, _ in Formatter().parse(text) if name)\n"
        )
        file.write(
            'TEXTS.update({code: f"<{code}>{_HIDDEN(text)}" for code, text in TEXTS.items() if code not in _WRAPS})\n'
        )
    return made


def test_pages_speak_german_whatever_the_english_says(own: Callable[..., Api], home: Path) -> None:
    # A port without a gateway, whatever else runs on this machine.
    api = own(port=9, workshop={"admin_password": ADMIN["X-Admin-Password"], "seat_passwords": "generate"})
    api.home = home
    api.start()
    signed_in = api.post("/api/session", {"workshopPassword": ADMIN["X-Admin-Password"]})
    api.client.cookies.clear()
    german = {**GERMAN, "Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
    base = api.create("Workshop", group="workshop")
    ids, job = api.clone(base["id"], 2)
    assert api.ended(job)["state"] == "successful"
    assert api.post(f"/api/projects/{ids[1]}/stop").status_code == 200

    # An error, a warning and a note: of a row, of a job's seats, of an archive, of a rehearsal.
    collect = api.post("/api/workshop/collect", headers=ADMIN).json()["jobId"]
    assert api.ended(collect)["seats"][1]["warnings"] == ["<at_rest>"]
    rehearse = api.post("/api/workshop/rehearse", {"seats": 1}, headers=ADMIN).json()["jobId"]
    assert api.ended(rehearse)["state"] == "successful"
    broken = api.instance.container({"id": ids[0]})
    broken.exec_run(["/bin/mv", "/usr/local/bin/workspace-ide", "/usr/local/bin/gone"], user="root")
    cards = api.post("/pages/workshop/cards", {"newPasswords": True, "projectIds": ids[:1]}, headers=german)
    assert cards.status_code == 200
    failed = api.newest_job("password")
    assert failed is not None and failed["state"] == "failed"
    api.instance.lose({"id": ids[1]})
    eventually(lambda: api.status(ids[1]) == "error", "the lost container is seen")
    assert api.project(ids[1])["error"] == "<container_gone>"

    pages = {
        "/": "Sein Container wurde entfernt.",
        f"/workspaces/{ids[1]}": "Sein Container wurde entfernt.",
        f"/jobs/{failed['id']}": "Der Container bleibt zur Fehlersuche erhalten",
        "/pages/workshop/ending": "Sein Container läuft nicht, darum wurde nichts committet",
        "/pages/workshop/rehearsal": "das Gateway antwortet nicht",
    }
    for path, sentence in pages.items():
        # The front page is rebuilt a moment after a change.
        eventually(lambda path=path, sentence=sentence: sentence in shown(api, path, german), path)  # type: ignore[misc]
        assert not re.findall(r"<[a-z_]+(?:\.[a-z_]+)*>", shown(api, path, german)), path
    assert "Der Container bleibt zur Fehlersuche erhalten" in html.unescape(cards.text)
    assert (failed["error"], failed["codes"]["error"]["params"]) == ("<seats_failed>", {"failed": 1, "count": 1})
    # What the API refuses, and a warning beside a success: the pages' scripts have them told by their codes.
    for method, path, body, sentence in (
        ("POST", f"/api/projects/{ids[0]}/clone", {"count": 0}, "0 Klone sind nicht erlaubt. Erlaubt sind 1 bis 50"),
        ("POST", "/api/workshop/rehearse", {"projectId": "0" * 12}, "Diesen Workspace gibt es nicht."),
        ("GET", "/api/jobs/none", None, "Diesen Auftrag gibt es nicht."),
        (
            "POST",
            "/api/projects/create",
            {"projectName": "x", "projectType": "empty"},
            "„x“ ist kein Name für einen Workspace",
        ),
    ):
        refused = api.client.request(method, path, json=body, headers=ADMIN)
        assert not refused.is_success, path
        assert sentence in told(api, refused.json()["codes"]), path
    made = api.post(
        "/api/projects/create", {"projectName": "warned", "projectType": "empty", "createGitRepo": True}
    ).json()
    assert made["warnings"] == ["<no_git_server_for>"]
    assert "Für 'warned' wurde kein Repository angelegt" in told(api, made["codes"])
    assert "Aucun dépôt n\u2019a été créé pour" in told(api, made["codes"], "fr")
    # Programs have the code and its parameters beside the text.
    (seat,) = [seat for seat in failed["seats"] if seat["projectId"] == ids[0]]
    assert seat["codes"]["error"]["id"] == "sentences"
    assert seat["codes"]["error"]["params"]["first"]["params"]["why"]["params"]["name"] == "Workshop 1"


def told(api: Api, codes: dict[str, Any], language: str = "de") -> str:
    """The sentence that the pages' scripts get for the codes."""
    answer = api.post("/pages/workshop/told", codes, headers={**GERMAN, "Accept-Language": language})
    assert answer.status_code == 200
    return str(answer.json())


def shown(api: Api, path: str, headers: dict[str, str]) -> str:
    """The page's text, as a reader sees it."""
    page = api.get(path, headers=headers)
    assert page.status_code == 200, path
    return html.unescape(re.sub(r"<script.*?</script>|<[^>]*>", "", page.text, flags=re.DOTALL))
