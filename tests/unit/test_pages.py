"""The pages: words in every language, templates that say nothing else, and presenters that are plain functions."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

import pytest
import yaml
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, tagged, untagged
from atelier.common.models import ProxyMode, Status
from atelier.common.texts import TEXTS
from atelier.egress.squid_log import LogEntry
from atelier.egress.whitelist import normalise
from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationError, create_model
from support import row as a_row

from api.core.errors import error_response, validation_response
from api.schemas.projects import CreateProject
from api.services.workshop_teardown import _not_collected
from api.web import i18n
from api.web.i18n import FOLDER, Words, choose_language, languages, read_languages, words
from api.web.presenters import egress, jobs, machines, workspaces
from api.web.templating import STATIC, rendered

ROOT = Path(__file__).parents[2]
WEB = Path(egress.__file__).parents[1]
TEMPLATES = WEB / "templates"
EN = words("en")
LANGUAGES = sorted(languages())


def project(**values: Any) -> dict[str, Any]:
    container = {"status": "exited", "uptime": "0m", "resources": {"cpu": "0.0%", "memory": "0B"}}
    known = {
        "id": "0123456789ab",
        "name": "Base",
        "type": "empty",
        "container": container,
        "gitRepository": None,
        "gitUrl": None,
        "warnings": [],
        "status": "running",
        "stoppedFor": None,
        "error": None,
        "diskWarning": None,
        "group": "spring",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastActivity": "2026-01-01T00:00:00.000Z",
        "notes": "",
        "workspaceUrl": "http://0123456789ab.localhost/",
        "passwordProtected": False,
        "proxyMode": "none",
        "node": "controller",
        "imageOutdated": False,
        "memoryLimit": "2g",
        "cpuCores": "2",
    }
    return known | values


def facts(project: dict[str, Any], translator: Words = EN, **values: Any) -> str:
    """The part of a workspace's page that tells its facts."""
    shown = {"memory": workspaces.spaced(project["container"]["resources"]["memory"]), "extended": "", "docker": ""}
    workspace = workspaces.row(project)
    return rendered("workspace_facts.html", translator, workspace=workspace, **shown | {"browsable": False} | values)


def listing(table: dict[str, Any], **values: Any) -> str:
    """The list of workspaces."""
    nothing = {"counts": {}, "group": "", "groups": {}, "node": "", "nodes": {}, "activity": [], "docker": ""}
    return rendered("workspaces_table.html", EN, table=table, **nothing | values)


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the files of words."""
    return Path(shutil.copytree(FOLDER, tmp_path / "words"))


def changed(file: Path, *removed: str, **texts: Any) -> None:
    known = json.loads(file.read_text())
    file.write_text(json.dumps({key: text for key, text in (known | texts).items() if key not in removed}))


def test_a_language_is_one_file(folder: Path) -> None:
    """Its plurals are those of CLDR: Polish has two more than English, Brazilian Portuguese one."""
    assert [*languages()] == sorted(file.stem for file in FOLDER.iterdir())
    for language, more in (("pl", {"few", "many"}), ("pt-br", {"many"})):
        shutil.copy(folder / "de.json", folder / f"{language}.json")
        counted = [key.removesuffix(".one") for key in words("de").texts if key.endswith(".one")]
        forms = {f"{key}.{form}": f"{{count}} {form}" for key in counted for form in more}
        changed(folder / f"{language}.json", **forms)
    found = read_languages(folder)
    assert [found["pl"].count("ending.seats", number) for number in (1, 3, 7)] == ["1 Platz", "3 few", "7 many"]
    assert found["pt-br"]("do.stop") == "Stoppen"


@pytest.mark.parametrize(
    ("removed", "texts", "fault"),
    [
        (["do.stop"], {}, "de.json: do.stop is missing"),
        (["ending.seats.other"], {}, "de.json: ending.seats.other is missing"),
        ([], {"do.dance": "Tanzen"}, "de.json: do.dance is not an entry of English"),
        ([], {"ending.seats.many": "{count}"}, "de.json: ending.seats.many is not an entry of English"),
        ([], {"do.more": "{nmae}"}, "de.json: do.more has the placeholders ['nmae'], not ['name']"),
        ([], {"do.stop": "{}"}, "de.json: do.stop has the placeholders [''], not []"),
        ([], {"do.stop": " "}, "de.json: do.stop is no text"),
        ([], {"do.stop": 1}, "de.json: do.stop is no text"),
        ([], {"do.stop": "{"}, "de.json: do.stop is no text"),
        (["do.stop"], {"do.more": ""}, "de.json: do.more is no text; do.stop is missing"),
    ],
)
def test_a_faulty_language_is_refused(folder: Path, removed: list[str], texts: dict[str, Any], fault: str) -> None:
    changed(folder / "de.json", *removed, **texts)
    with pytest.raises(ValueError, match=re.escape(fault) + "$"):
        read_languages(folder)


def test_a_file_that_is_no_language_is_refused(folder: Path) -> None:
    for name, text, fault in (
        ("nonsense", "{}", "nonsense.json: its name is no language of CLDR"),
        ("it", "{", "it.json: not a JSON object"),
        ("it", "[1]", "it.json: not a JSON object"),
    ):
        (folder / f"{name}.json").write_text(text)
        with pytest.raises(ValueError, match=fault):
            read_languages(folder)
        (folder / f"{name}.json").unlink()


def test_the_gateway_has_the_words_of_the_same_files() -> None:
    variables = yaml.safe_load((ROOT / "roles/gateway/vars/main.yml").read_text())["atelier_gateway_words"]
    (glob,) = re.findall(r"role_path \+ '/([^']+)'", variables)
    assert (ROOT / "roles/gateway" / glob).resolve().parent == FOLDER
    used = set()
    for template in (ROOT / "roles/gateway/templates").iterdir():
        used |= set(re.findall(r"""(?:page|sign_in|text|password_form)\('([a-z_.]+)'""", template.read_text()))
    said = EN.of("gateway.").keys()
    assert {"no_workspace", "stopped", "password"} <= used
    assert all(key in said or f"{key}.title" in said for key in used)


def test_a_ports_page_is_not_loaded_again_by_itself() -> None:
    """Each load is a visit: a forgotten tab would start its workspace again after every idle stop."""
    template = (ROOT / "roles/gateway/templates/haproxy.cfg.j2").read_text()
    # On the controller, and on other machines.
    assert re.findall(r"page\('silent_port'([^)]*)\)", template) == ["", ""]


def test_french_writes_as_the_french_do() -> None:
    """Typographic apostrophes and quotes; a narrow no-break space before what French sets apart."""
    for key, text in words("fr").texts.items():
        assert not re.findall(r"""['"]|[^\u202f][;!?»%](?!\w)| :|\xa0|«[^\u202f]""", re.sub(r"{.*?}", "x", text)), key
    assert [words("fr").count("workshop.free", number) for number in (0, 1, 2, 1234, 1_000_000)] == [
        "0 place est libre.",
        "1 place est libre.",
        "2 places sont libres.",
        "1\u202f234 places sont libres.",
        "1\u202f000\u202f000 de places sont libres.",
    ]


def test_what_templates_and_presenters_say_there_are_words_for() -> None:
    said = set()
    for path in [*TEMPLATES.glob("*.html"), *WEB.rglob("*.py")]:
        said |= set(re.findall(r"""(?:\bt|translator|texts)[(\[]"([a-z_.]+[a-z_])"[,)\]]""", path.read_text()))
        for key in re.findall(r"""translator\.count\(\s*"([a-z_.]+)",""", path.read_text()):
            said |= {f"{key}.one", f"{key}.other"}
    assert len(said) > 100
    assert sorted(said - EN.texts.keys()) == []


def test_templates_hold_no_scripts_styles_or_words_of_their_own() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text()
        assert not re.findall(r"\son[a-z]+=|\bstyle=|<style|javascript:", text), path.name
        assert not re.findall(r"<script(?![^>]*(?:src=|application/json))", text), path.name
        # Before the scripts are there no browser may send the input: a password would be part of an address.
        assert all('method="dialog"' in form for form in re.findall(r"<form[^>]*data-call[^>]*>", text)), path.name
        # Whatever is between tags comes from the words or from data.
        bare = re.sub(r"""{[{%#].*?[}%#]}|<[^>]*>|&\w+;|[\w-]+="[^"]*\"""", " ", text, flags=re.DOTALL)
        assert not re.findall(r"[A-Za-z]{3,}", bare), path.name


def sent(view: dict[str, Any]) -> dict[str, Any]:
    """The data as a page gets it: by way of JSON."""
    return dict(untagged(json.loads(json.dumps(tagged(view)))))


def sample(id: str) -> Message:
    """The message with a value for each of its parameters."""
    fields = [field for key in (id, f"{id}.remedy") if key in TEXTS for field in Formatter().parse(TEXTS[key])]
    return Message(id, **{name: 7.5 if spec else f"({name})" for _, name, spec, _ in fields if name})


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_make_what_the_core_says_from_its_code(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every English sentence replaced by its code a page says the same, in every language."""
    translator = words(language)
    said = {id: translator.translate(sent({"error": sample(id)})["error"]) for id in TEXTS}
    assert said["container_gone"] == translator.texts["told.container_gone"]
    codes = {id: sample(id) for id in TEXTS}
    for id in TEXTS:
        monkeypatch.setitem(TEXTS, id, id)
    replaced = {id: Message(id, **message.params) for id, message in codes.items()}
    assert {str(message) for message in replaced.values()} == TEXTS.keys()
    assert {id: translator.translate(sent({"error": message})["error"]) for id, message in replaced.items()} == said


def test_every_place_of_the_core_s_sentences_is_in_the_readers_language() -> None:
    german = words("de")
    why = Message(
        "sentences", first=Message("ide_silent", name="Base 1", seconds=60), then=Message("not_restarted.remedy")
    )
    told = german.translate(why)
    assert told.startswith("Die IDE von 'Base 1' hat nicht binnen 60 Sekunden geantwortet. Stoppen und starten")
    seat = {"projectId": "a", "projectName": "Base 1", "status": "error", "error": why}
    job: dict[str, Any] = {"id": "j", "operation": "stop", "state": "failed", "projectIds": ["a"], "error": why}
    job |= {"seats": [seat], "progress": {"done": 0, "total": 1}, "createdAt": "now", "finishedAt": "now"}
    html = unescape(rendered("job_state.html", german, job=jobs.row(sent(job), {}, german)))
    assert html.count(told) == 2
    assert told in unescape(facts(sent(project(error=why)), german))
    html = unescape(facts(sent(project(warnings=[why, "As an older version put it."])), german))
    assert told in html and "As an older version put it." in html
    assert german.translate(Message("enough_for", what="memory", seats=3)) == "Arbeitsspeicher reicht für 3 Plätze."
    assert (german.figure("58.0 MB at 0.25"), EN.figure("58.0 MB")) == ("58,0 MB at 0,25", "58.0 MB")
    assert words("fr").figure("58.0 MB / 2 GiB") == "58,0 Mo / 2 Gio"
    fits = Message("no_room", fits=1, count=2, size="2.0", free="192.0.2.4 1.5 GiB")
    assert "mit je 2,0 GiB" in german.translate(fits) and "192.0.2.4 1,5 GiB" in german.translate(fits)
    low = Message("attention.disk_low", node="192.0.2.4", figure="9.8 GB")
    assert "auf 192.0.2.4 sind nur noch 9,8 GB frei" in german.translate(low)
    assert (
        words("fr").translate(why).startswith("L\u2019IDE de «\u202fBase 1\u202f» n\u2019a pas répondu en 60 secondes.")
    )


@pytest.mark.parametrize(
    ("kind", "value", "id", "german"),
    [
        (StrictStr, 1, "input.no_text", "Das ist kein Text."),
        (StrictBool, "yes", "input.no_boolean", "Das ist weder true noch false."),
        (bool, "maybe", "input.no_boolean", "Das ist weder true noch false."),
        (StrictInt, "5", "input.no_integer", "Das ist keine ganze Zahl."),
        (int, "five", "input.no_integer", "Das ist keine ganze Zahl."),
        (int, 1.5, "input.no_integer", "Das ist keine ganze Zahl."),
        (list[str], "a", "input.no_list", "Das ist keine Liste."),
        (
            Annotated[list[str], Field(max_length=1)],
            ["a", "b"],
            "input.list_long",
            "Die Liste hat mehr als 1 Einträge.",
        ),
        (Annotated[int, Field(ge=1)], 0, "input.at_least", "Erlaubt ist mindestens 1."),
        (Annotated[int, Field(le=9)], 10, "input.at_most", "Erlaubt ist höchstens 9."),
        (Literal["a", "b", "c"], "d", "input.choice", "Möglich sind: 'a', 'b', 'c'."),
        (ProxyMode, "d", "input.choice", "Möglich sind: "),
        (dict[str, str], 1, "input.no_object", "Der Inhalt muss ein JSON-Objekt sein."),
    ],
)
def test_pydantics_own_faults_have_codes(kind: Any, value: object, id: str, german: str) -> None:
    with pytest.raises(ValidationError) as refused:
        create_model("Body", field=(kind, ...)).model_validate({"field": value})
    body = json.loads(bytes(validation_response(refused.value.errors()).body))
    assert body["codes"]["details"]["field"]["id"] == id
    assert words("de").translate_codes(body["codes"])["details"]["field"].startswith(german)


def test_what_the_api_refuses_is_told_in_the_readers_language() -> None:
    with pytest.raises(ValidationError) as refused:
        CreateProject.model_validate({"projectName": "a b", "projectType": "empty", "password": "canary"})
    answers = [validation_response(refused.value.errors())]
    fault = Message("input.group", value="a/b", low=1, high=50)
    answers.append(error_response(AtelierError(Code.VALIDATION_ERROR, fault, field="group")))
    told = [words("de").translate_codes(json.loads(bytes(answer.body))["codes"]) for answer in answers]
    name, password = told[0]["details"]["projectName"], told[0]["details"]["password"]
    assert (name.startswith("„a b“ ist kein Name für einen Workspace"), "3 bis 50 Buchstaben" in name) == (True, True)
    assert password == "Das Passwort hat 6 Zeichen (password). Nehmen Sie 8 bis 50."
    group = "„a/b“ ist kein Name für eine Gruppe. "
    assert told[1]["error"] == group.strip()
    assert told[1]["message"] == told[1]["details"]["group"]
    assert told[1]["message"].startswith(group + "Nehmen Sie 1 bis 50 Buchstaben")
    # JSON holds no larger numbers.
    huge = Message("input.count", value=10**30, low=1, high=50)
    body = json.loads(bytes(error_response(AtelierError(Code.VALIDATION_ERROR, huge, field="count")).body))
    assert words("de").translate_codes(body["codes"])["error"] == f"{10**30} Klone sind nicht erlaubt."
    # Faults within the details have their codes beside them.
    with pytest.raises(AtelierError) as faulty:
        normalise(["*.example.org", "x y"])
    body = json.loads(bytes(error_response(faulty.value).body))
    wildcard, space = words("de").translate_codes([entry["codes"] for entry in body["details"]["invalid"]])
    assert wildcard == {
        "fault": "enthält einen Platzhalter",
        "remedy": "Lassen Sie ihn weg: Eine Domain schließt ihre Subdomains immer ein.",
    }
    assert space["fault"] == "enthält Leerraum oder Steuerzeichen"
    assert words("de").translate_codes(body["codes"])["message"] == (
        "domains[0] '*.example.org' enthält einen Platzhalter. Weitere ungültige Einträge: 1. " + wildcard["remedy"]
    )


def test_the_names_of_what_is_not_collected_end_in_the_readers_language() -> None:
    refused = _not_collected(["a", "b", "c", "d", "e", "f", "g"], 9)
    assert str(refused.message) == "The work in 7 of 9 workspaces is not collected: a, b, c, d, e and 2 more."
    assert words("de").translate(refused.message).endswith(": a, b, c, d, e und 2 weitere.")
    assert str(_not_collected(["a", "b"], 2).message).endswith(": a, b.")


@pytest.mark.parametrize(
    "codes",
    [
        None,
        1,
        "canceled",
        {"id": "canceled", "params": None},
        {"id": "no_such", "params": {}},
        {"id": ["canceled"], "params": {}},
        {"id": "clones", "params": {}},
        {"id": "took_longer", "params": {"seconds": "x", "said": {"id": "canceled"}}},
    ],
)
def test_codes_that_there_are_none_of_have_no_words(codes: Any) -> None:
    assert EN.translate_codes(codes) is None
    assert EN.translate_codes({"a": [codes]}) == {"a": [None]}


def test_codes_within_codes_end() -> None:
    nested: Any = {"id": "canceled", "params": {}}
    for _ in range(5000):
        nested = {"id": "list", "params": {"first": nested, "then": "x"}}
    assert EN.translate_codes(nested) is None


def test_quotes_within_quotes_do_not_fill_the_memory() -> None:
    nested: Any = "'\"\\"
    for _ in range(40):
        nested = {"id": "name_taken", "params": {"name": nested}}
    assert EN.translate_codes(nested) is None


def test_every_error_has_words() -> None:
    for language in LANGUAGES:
        of_pages = {"offline", "unknown", "ADMIN_OFF"}
        assert words(language).of("error.").keys() == {str(code) for code in Code} | of_pages, language


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("fr-CA, de;q=0.5, en;q=0.4", "fr"),
        ("FR", "fr"),
        ("is, de;q=0.5, en;q=0.4", "de"),
        ("de;q=0.4, fr;q=0.5", "fr"),
        ("is", "en"),
        ("fr;q=9, fr--ca, " + "-" * 9000, "en"),
        ("*", "en"),
        ("de;q=0", "en"),
        ("de;q=nonsense, \xff, ,;", "en"),
    ],
)
def test_the_readers_language(accepted: str, language: str) -> None:
    assert choose_language(accepted) == language


def test_a_language_that_babel_writes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "languages", lambda: {"en": EN, "pt-pt": EN})
    assert choose_language("pt") == "pt-pt"


# --- Workspaces -------------------------------------------------------------------------------------------------------


def test_a_row_offers_what_there_is_a_point_in() -> None:
    running = facts(project(passwordProtected=True))
    assert 'href="http://0123456789ab.localhost/"' in running
    assert 'data-protected="true"' in running
    assert 'data-dialog="stop"' in running and "/start" not in running
    assert 'data-dialog="delete"' in running
    stopped = facts(project(status="stopped"))
    assert "0123456789ab.localhost" not in stopped
    assert 'data-call="POST /api/projects/0123456789ab/start"' in stopped and 'data-dialog="stop"' not in stopped
    asleep = facts(project(status="stopped", stoppedFor="idle"))
    assert "Asleep" in asleep and "0123456789ab/start" in asleep and 'data-dialog="stop"' in asleep
    being_made = facts(project(status="creating"))
    assert "<button" not in being_made and "0123456789ab.localhost" not in being_made
    failed = facts(project(status="error", error="The disk is full."))
    assert "The disk is full." in failed and 'data-dialog="delete"' in failed


def test_only_what_runs_has_figures() -> None:
    container = {"status": "running", "uptime": "1h 2m", "resources": {"cpu": "0.8%", "memory": "58.0MB"}}
    html = facts(project(container=container), words("de"), extended="2026-01-01")
    assert "<dt>Arbeitsspeicher</dt><dd>58,0 MB von 2 GB</dd>" in html
    assert "<dt>Prozessor</dt><dd>0,8 % von 2 Kernen</dd>" in html
    assert "<dd>58,0 Mo sur 2 Go</dd>" in facts(project(container=container), words("fr"))
    assert '<dt>Verlängert bis</dt><dd><time datetime="2026-01-01" data-clock=short>' in html
    html = facts(project(container={**container, "status": "exited"}), words("de"))
    assert not any(f"<dt>{name}" in html for name in ("Arbeitsspeicher", "Prozessor", "Läuft seit", "Verlängert bis"))


def test_a_table_of_one_group() -> None:
    everything = [project(), project(group="Uncategorized", status="error"), project(group="exam", status="stopped")]
    shown = workspaces.table(everything, "exam")
    assert (len(shown["rows"]), shown["empty"]) == (1, "")
    assert '<p class="soft">1 workspace</p>' in listing(shown)
    assert '<p class="soft">3 workspaces</p>' in listing(workspaces.table(everything, ""))
    assert EN("workspaces.none_in_group") in listing(workspaces.table(everything, "gone"))
    nothing = listing(workspaces.table([], ""))
    assert EN("workspaces.none") in nothing and 'id="filter-group"' in nothing
    assert workspaces.counts(everything) == {"running": 1, "stopped": 1, "error": 1}
    groups = workspaces.group_labels(everything, "exam", EN)
    assert groups == {"Uncategorized": "No group", "exam": "exam", "spring": "spring"}
    options = re.findall("<option.*?</option>", listing(shown, groups=groups, group="exam"))
    assert options == [
        '<option value="">All groups</option>',
        '<option value="Uncategorized">No group</option>',
        '<option value="exam" selected>exam</option>',
        '<option value="spring">spring</option>',
    ]
    assert 'data-group=""' in facts(project(group="Uncategorized"))


def test_a_table_of_one_machine() -> None:
    everything = [project(), project(node="alpha", group="exam"), project(node="lost", group="exam")]
    assert [row["node"] for row in workspaces.table(everything, "", "alpha")["rows"]] == ["alpha"]
    assert len(workspaces.table(everything, "exam")["rows"]) == 2
    assert workspaces.table(everything, "exam", "controller")["empty"] == "workspaces.none_at_machine"
    nodes = workspaces.node_names(everything, ["controller", "alpha", "beta"], "alpha")
    assert list(nodes) == ["controller", "alpha", "beta", "lost"]
    table = workspaces.table(everything, "")
    html = listing(table, nodes=nodes, node="alpha")
    assert re.findall('<option value="(.*)" selected>', html) == ["", "alpha"]
    assert '<td role="cell" class="c-machine">lost</td>' in html
    # On a single machine nothing tells of machines.
    assert workspaces.node_names(everything, ["controller"], "") == {}
    html = listing(table)
    assert "c-machine" not in html
    assert "filter-node" not in html


def test_only_a_workspace_with_somewhere_to_go_can_be_moved() -> None:
    def dialogs(**given: bool) -> list[str]:
        return list(workspaces.row(project(), **given)["actions"])

    assert "move" not in dialogs()
    assert "move" in dialogs(movable=True)
    (row,) = workspaces.table([project()], "", movable=True)["rows"]
    assert "move" in row["actions"]


def test_only_a_workspace_with_an_old_image_can_be_upgraded() -> None:
    old = project(id="1" * 12, name="Old", imageOutdated=True)
    table = workspaces.table([project(), old], "")
    assert ["upgrade" in row["actions"] for row in table["rows"]] == [False, True]
    html = listing(table)
    assert html.count('data-dialog="bulk-upgrade"') == html.count('data-dialog="upgrade"') == 1
    assert 'data-title="Stop 2 workspaces?"' in html
    assert html.count("old image") == 1
    assert "bulk-upgrade" not in listing(workspaces.table([project(), project(id="2" * 12)], ""))
    assert "bulk-" not in listing(workspaces.table([project()], ""))


def test_what_people_type_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'"
    html = listing(workspaces.table([project(name=evil, error=evil, group=evil)], ""), docker=evil)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4


def test_a_workspace_from_a_repository_is_a_kind_where_its_template_is_there() -> None:
    config = {"templates": ["empty", "python-flask"], "enableProxy": False, "gitServerEnabled": True}
    form = workspaces.create_form(config, ["Uncategorized", "spring"], EN)
    assert [*form["kinds"].values()] == ["empty", "python-flask", "From a repository"]
    assert ([*form["kinds"]][-1], form["git"], form["groups"]) == ("git-clone", True, ["spring"])
    without = workspaces.create_form({**config, "templates": ["python-flask"], "gitServerEnabled": False}, [], EN)
    assert ([*without["kinds"]], without["git"]) == (["python-flask"], False)
    assert "From a repository" in facts(project(type="git-clone"))


# --- Git, addresses ---------------------------------------------------------------------------------------------------


def test_a_workspaces_repository_has_a_link_where_there_are_pages_to_look_at() -> None:
    repository = {
        "fullName": "developer/base",
        "webUrl": "http://localhost/git/developer/base",
        "cloneUrl": "http://localhost/git/developer/base.git",
        "branch": "main",
    }
    made = project(gitRepository=repository, warnings=["No repository."])
    html = facts(made, browsable=True)
    for shown in (f'href="{repository["webUrl"]}"', repository["cloneUrl"], "main", "No repository."):
        assert shown in html
    html = facts(made)
    assert "developer/base" in html and 'href="http://localhost/git' not in html
    cloned = facts(project(gitUrl="https://x.example/a"), browsable=True)
    assert "https://x.example/a" in cloned and EN("repository.branch") not in cloned
    assert 'id="repository"' not in facts(project(), browsable=True)


def test_repositories_are_told_with_the_default_branch_first() -> None:
    entry = {
        "name": "course",
        "description": "",
        "url": "http://localhost/git/developer/course",
        "cloneUrl": "http://localhost/git/developer/course.git",
        "private": True,
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "defaultBranch": "main",
        "branches": ["clone/course-1", "clone/course-10", "clone/course-2", "main"],
        "problem": None,
    }
    assert workspaces.default_first(entry) == ["main", "clone/course-1", "clone/course-2", "clone/course-10"]  # type: ignore[arg-type]
    damaged = {**entry, "branches": [], "problem": "git gave up"}
    html = rendered("repositories_list.html", EN, away=False, repositories=[entry, damaged], browsable=False)
    assert html.count("It is damaged") == 1
    assert f'href="{entry["url"]}"' not in html
    html = rendered("repositories_list.html", EN, away=False, repositories=[entry], browsable=True)
    assert f'href="{entry["url"]}"' in html


def test_a_port_has_an_address_where_somebody_can_open_it() -> None:
    found = [
        {"port": 3000, "reachable": True, "url": "http://a/", "passwordRequired": True},
        {"port": 3001, "reachable": False, "url": "http://b/", "passwordRequired": True},
    ]
    shown = workspaces.ports(found, [3002])
    urls = [(port["number"], port["url"], port["shared"]) for port in shown]
    assert urls == [(3000, "http://a/", False), (3001, "", False), (3002, "", True)]
    assert [port["access"] for port in shown] == ["ports.password", "ports.local", "ports.shared"]
    html = rendered("ports.html", EN, id="0123456789ab", ports=shown, empty="")
    assert "<strong>Port 3000</strong>" in html and EN("ports.local") in html
    assert EN("ports.asleep") in rendered("ports.html", EN, id="0123456789ab", ports=[], empty="ports.asleep")
    alias = {"subdomain": "demo", "url": "http://demo/", "port": 3000, "basicAuth": False, "user": None}
    guarded = {**alias, "basicAuth": True, "user": "guest"}
    html = rendered("aliases.html", EN, id="0123456789ab", aliases=[alias, guarded])
    assert "Port 3000 · open to all" in html and "Port 3000 · requires guest&#39;s password" in html
    assert re.findall('data-guarded="(.*?)"', html) == ["", "true"]


# --- Jobs, egress -----------------------------------------------------------------------------------------------------


def test_a_job_is_told_by_names() -> None:
    job = {
        "id": "j",
        "operation": "clone",
        "state": "running",
        "projectIds": ["a", "b"],
        "error": None,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "finishedAt": None,
        "progress": {"done": 1, "total": 2},
        "seats": [{"projectId": "a", "projectName": "Base 1", "status": "error", "error": "no room"}],
    }
    row = jobs.row(job, {"b": "Base 2"}, EN)
    assert (row["what"], row["of"], row["advance"], row["open"]) == ("Clone", "2 workspaces", "1 of 2", True)
    html = rendered("job_state.html", EN, job=row)
    assert '<span class="dot error"></span>Error</span> <a href="/workspaces/a">Base 1</a>' in html
    assert '<span class="reason">no room</span></li>' in html
    lost = Message("begun.base", name="Base 1")
    told = jobs.row(sent({**job, "seats": [{**job["seats"][0], "warnings": [lost]}]}), {}, words("de"))
    assert words("de").translate(lost) in unescape(rendered("job_state.html", words("de"), job=told))
    single = {**job, "operation": "later-than-this-page", "projectIds": ["b"], "seats": [], "state": "failed"}
    row = jobs.row({**single, "progress": {"done": 0, "total": 1}}, {"b": "Base 2"}, EN)
    assert (row["what"], row["of"], row["advance"], row["open"]) == ("later-than-this-page", "Base 2", "", False)
    assert "<h1>later-than-this-page · Base 2</h1>" in rendered("job_state.html", EN, job=row)
    # Some jobs are about no workspace.
    assert "<h1>Repair</h1>" in rendered(
        "job_state.html", EN, job=jobs.row({**job, "operation": "repair", "projectIds": []}, {}, EN)
    )


def test_the_whitelist_is_edited_without_what_always_stands_on_it() -> None:
    lists = ([".debian.org", ".github.com"], {"exam": [".python.org"]})
    form = egress.whitelist_form(*lists, [".debian.org"], "", ["spring"], "Everybody")
    assert (form["domains"], form["base"]) == (["github.com"], ["debian.org"])
    assert form["groups"] == {"": "Everybody", "exam": "exam", "spring": "spring"}
    group = egress.whitelist_form(*lists, [".debian.org"], "exam", [], "Everybody")
    assert (group["domains"], group["base"]) == (["python.org"], [])


def test_the_proxys_log_is_newest_first() -> None:
    entries = [
        LogEntry("1733234567.123", "1", "10.9.0.5", "TCP_TUNNEL/200", "9", "CONNECT", "a:443", ""),
        LogEntry("1733234568.000", "1", "10.9.0.5", "TCP_DENIED/403", "0", "GET", "http://b/", ""),
    ]
    rows = egress.log_rows(entries, [])
    assert [(row["entry"].url, row["denied"]) for row in rows] == [("http://b/", True), ("a:443", False)]
    html = rendered("log.html", EN, rows=rows, unanswered=[])
    assert re.findall(r'<span class="status (\w+)" title="[^"]+">(\w+)<', html) == [
        ("error", "Denied"),
        ("running", "Allowed"),
    ]
    assert rows[1]["at"] == "2024-12-03T14:02:47Z"


def test_a_refused_or_recorded_domain_can_be_allowed_once() -> None:
    def refused(url: str) -> LogEntry:
        return LogEntry("1.0", "1", "10.9.0.5", "TCP_DENIED/403", "0", "GET", url, "")

    logs = [refused(url) for url in ("a.example.com:443", "http://10.0.0.1/", "x.python.org:443", "a.example.com:443")]
    rows = egress.log_rows(logs, [".python.org"])
    assert [(row["domain"], row["allows"]) for row in rows] == [
        ("a.example.com", "yes"),
        ("x.python.org", "done"),
        ("10.0.0.1", ""),
        ("a.example.com", ""),
    ]
    html = rendered("log.html", EN, rows=rows, unanswered=[])
    assert (html.count('data-call="POST /api/whitelist"'), html.count(">on the whitelist<")) == (1, 1)
    seen = {"count": 1, "last_seen": "2026-01-01T00:00:00.000Z"}
    recorded = {"Other": [{"domain": "a.example.com", **seen}]}
    for allowed, allows in (([], "yes"), ([".example.com"], "done"), (None, "")):
        (entry,) = egress.domain_categories(recorded, allowed)["Other"]
        assert entry["allows"] == allows


def test_conversations_show_the_last_question_and_its_answer() -> None:
    whole = {
        "timestamp": "2026-01-01T00:00:00.000Z",
        "model": "m",
        "parsed_request": {"messages": [{"role": "user", "content": "old"}, {"role": "user", "content": "new"}]},
        "parsed_response": {"content": "x" * 5000, "usage": {"total_tokens": 7}},
    }
    broken = {"timestamp": "2026-01-01T00:00:01.000Z", "model": "", "parsed_request": None, "parsed_response": None}
    rows = egress.conversation_rows([whole, broken])
    assert (rows[0]["asked"], len(rows[0]["answered"]), rows[1]["asked"], rows[1]["answered"]) == ("new", 2002, "", "")
    page = {"id": "0123456789ab", "total": 2, "following": 0, "offset": 0, "unanswered": []}
    html = rendered("conversations.html", EN, entries=rows, **page)
    assert "7 tokens" in html and '<span class="mode">Unknown model</span>' in html


# --- Looks ------------------------------------------------------------------------------------------------------------


def test_what_is_vendored_comes_with_its_licence() -> None:
    assert "Permission to use" in (STATIC / "vendor" / "htmx-LICENSE.txt").read_text()
    assert not re.findall(
        r"https?://(?!www\.w3\.org)",
        "".join(path.read_text() for path in [*STATIC.glob("*.css"), *STATIC.glob("*.js")]),
    )


# --- Machines ---------------------------------------------------------------------------------------------------------


def machine(name: str, **values: Any) -> dict[str, Any]:
    known = {
        "name": name,
        "state": "ready",
        "availability": "active",
        "takesWorkspaces": True,
        "seats": 12,
        "memoryTotal": 32 << 30,
        "memoryPromised": 24 << 30,
        "memoryUsed": 3 << 30,
        "diskTotal": 500 << 30,
        "diskFree": 375 << 30,
        "cpus": 8.0,
        "engineVersion": "26.1.5",
        "address": "10.0.0.11",
        "labels": {"gpu": "true"},
        "lastSeen": "2026-02-14T10:00:00.000Z",
    }
    return known | values


def test_a_machine_in_words() -> None:
    ready, paused = machines.rows([machine("alpha"), machine("beta", availability="paused", seats=0)], [], words("de"))
    assert (ready["state"], ready["change"], ready["drains"]) == ("ready", "paused", True)
    assert ready["promised"] == {"text": "24,0 GB / 32,0 GB", "share": 75}
    assert ready["disk"] == {"text": "125,0 GB / 500,0 GB", "share": 25}
    html = rendered("machines_table.html", words("de"), away=False, machines=[ready])
    assert '<span class="soft">Docker 26.1.5</span>' in html and '<span class="soft">gpu=true</span>' in html
    assert '<span class="status running">' in html and "2026-02-14" not in html
    # It is empty already.
    assert (paused["state"], paused["change"], paused["drains"]) == ("paused", "active", False)
    assert '<span class="status stopped">' in rendered("machines_table.html", EN, away=False, machines=[paused])


def test_a_machine_that_is_away_was_seen_some_time() -> None:
    silent = machine("alpha", state="down", diskTotal=None, diskFree=None)
    away, _ = machines.rows([silent, machine("beta")], [], EN)
    assert (away["state"], away["drains"], away["disk"]) == ("away", False, {"text": "", "share": 0})
    html = rendered("machines_table.html", EN, away=False, machines=[away])
    assert '<span class="status error">' in html and 'datetime="2026-02-14T10:00:00.000Z"' in html


def test_a_single_machine_cannot_be_paused_or_emptied() -> None:
    only = machine("controller", engineVersion=None, address=None, labels={})
    (alone,) = machines.rows([only], [a_row(node="controller")], EN)
    assert (alone["change"], alone["drains"], alone["movable"]) == ("", False, [])
    html = rendered("machines_table.html", EN, away=False, machines=[alone])
    assert "<button" not in html and "Docker" not in html


def test_the_table_of_machines_pauses_and_drains() -> None:
    html = rendered("machines_table.html", EN, away=False, machines=machines.rows([machine("a"), machine("b")], [], EN))
    assert html.count('data-dialog="drain"') == 2
    assert 'data-call="PUT /api/nodes/a"' in html
    assert 'href="/?node=a"' in html


def test_the_workspaces_of_a_machine_move_and_those_of_a_lost_one_begin_elsewhere() -> None:
    seats = [
        a_row(id="1" * 12, name="One", node="a"),
        a_row(id="2" * 12, name="Two", node="a"),
        a_row(id="3" * 12, name="Made", node="a", status=Status.CREATING),
        a_row(id="4" * 12, name="Lost", node="b"),
    ]
    shown = machines.rows([machine("a"), machine("b", state="down"), machine("c")], seats, EN)
    table = rendered("machines_table.html", EN, away=False, machines=shown)
    assert re.findall('data-dialog="(move-seats|elsewhere)"', table) == ["move-seats", "elsewhere"]
    assert 'data-title="Begin 1 workspace elsewhere"' in table
    assert f'data-id="{"1" * 12} {"2" * 12}" data-names="One, Two" data-node="a"' in table
    layout = dict.fromkeys(("egress", "git", "workshop", "can_sign_out"), False)
    names = ["a", "b", "c"]
    page = rendered("machines.html", EN, away=False, machines=shown, here="machines", node_names=names, **layout)
    for name in ("move-seats", "elsewhere"):
        (dialog,) = re.findall(rf'<dialog id="dialog-{name}".*?</dialog>', page, re.DOTALL)
        assert 'data-call="POST /api/projects/{id}/move"' in dialog
        assert dialog.count("<option") == (6 if name == "elsewhere" else 4)
