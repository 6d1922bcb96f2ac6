"""Make docs/settings.md from the declarations: ``PYTHONPATH=module_utils .venv/bin/python -m tests.settings_table``.

The meaning of a variable comes from the API's setting of that name, else from the setting of ``site`` that the
inventory makes from it alone, else from a role's argument specification, else from the comment above it in the
inventory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from atelier.common.declared import options
from atelier.common.models import Site

from api.settings import declared

ROOT = Path(__file__).parent.parent
INVENTORY = ROOT / "inventory" / "group_vars" / "all" / "platform.yml"
PAGE = ROOT / "docs" / "settings.md"
_HEAD = """# Settings

The variables of the platform and their defaults (`inventory/group_vars/all/platform.yml`). Set one in a file
(`./atelier up -e @site.yml`), on the command line (`-e name=value`) or, if the table has a name in capitals, in the
environment. A size is a number of bytes or a text such as `20g`. `./atelier up` refuses a variable whose name begins
with `atelier_` and that is no setting of the platform or of a role.

`PYTHONPATH=module_utils .venv/bin/python -m tests.settings_table` makes this page from the declarations; a test
compares them.
"""
_COLUMNS = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]


def table() -> str:
    text = INVENTORY.read_text()
    values, known = yaml.safe_load(text), _declared_options()
    lines = [_HEAD]
    for title, section in re.findall(r"^# --- (.+?) -+\n(.*?)(?=^# ---|\Z)", text, re.MULTILINE | re.DOTALL):
        if title.startswith("Composed"):
            break
        lines += [f"## {title}", "", *_COLUMNS]
        for comment, names in re.findall(r"((?:^# .+\n)*)((?:^atelier_.+\n(?:^ .+\n)*)+)", section, re.MULTILINE):
            fallback = " ".join(line.removeprefix("# ") for line in comment.splitlines())
            for name in re.findall(r"^atelier_\w+", names, re.MULTILINE):
                lines.append(_row(name, values[name], known.get(name, {"description": fallback})))
        lines.append("")
    return "\n".join(lines)


def _declared_options() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        for point in yaml.safe_load(file.read_text())["argument_specs"].values():
            found |= point.get("options") or {}
    variables = yaml.safe_load(INVENTORY.read_text())
    site = variables["atelier_site"] | {"git": variables["atelier_git_site"]}
    return found | dict(_options_of_site(site, options(Site))) | declared()


def _options_of_site(
    values: Mapping[str, Any], specification: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in specification.items():
        if option["type"] == "dict" and "options" in option:
            yield from _options_of_site(values[name], option["options"])
        elif variable := re.fullmatch(r"{{ (atelier_\w+) }}", str(values[name])):
            yield variable[1], option


def _row(name: str, value: Any, option: Mapping[str, Any]) -> str:
    environment = re.search(r"ansible\.builtin\.env', '(\w+)'", str(value))
    default = _default(value)
    described = option["description"]
    meaning = described if isinstance(described, str) else " ".join(described)
    meaning = re.sub(r"[CV]\((.*?)\)", r"`\1`", " ".join(meaning.split()))
    choices = [f"`{choice}`" for choice in option.get("choices", ()) if choice]
    cells = [
        f"`{name}`" + (f"<br>`{environment[1]}`" if environment else ""),
        {"bytes": "size"}.get(option.get("type", ""), option.get("type", type(value).__name__)),
        default and f"`{default}`",
        meaning + (f" One of {', '.join(choices)}." if choices else ""),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: Any) -> str:
    """The default as people write it; an expression that is too long for a table is not shown."""
    if not isinstance(value, str):
        return json.dumps(value)
    if "ansible.builtin.env" in value:
        fallback = re.search(r"default\((.*?), true\)", value)
        return re.sub(r"^'([^']*)'$", r"\1", fallback[1]) if fallback else ""
    shown = re.sub(r"{{ (atelier_\w+) }}", r"<\1>", value).strip("{} ")
    return shown if len(shown) < 100 else "..."


if __name__ == "__main__":
    PAGE.write_text(table())
