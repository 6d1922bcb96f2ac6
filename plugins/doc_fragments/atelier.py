"""Shared documentation of the modules. ``site`` is documented from its declaration, the core's class Site."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[2] / "module_utils"))
from ansible.module_utils.atelier.ansible_module import SITE_SPEC


def _documented(option: Mapping[str, Any]) -> dict[str, Any]:
    if "options" not in option:
        return {**option, "type": "str"} if option["type"] == "bytes" else dict(option)
    inner = {name: _documented(suboption) for name, suboption in option["options"].items()}
    return {**{key: value for key, value in option.items() if key != "options"}, "suboptions": inner}


_SITE = {
    "description": "The installation the module works on. The inventory composes it once as C(atelier_site); playbooks"
    " pass it on as it is.",
    **_documented(SITE_SPEC),
}
_READY_TIMEOUT = {
    "description": "Seconds that each IDE may take until it answers HTTP.",
    "type": "float",
    "default": 60,
}
_NOTES = [
    "A failure has C(error_code), what went wrong in one word, such as V(IDE_NOT_READY), and C(details): the field at"
    " fault (C(field)), its value where it is no secret, and what to do (C(remedy))."
]


def _attributes(check: str, diff: str) -> str:
    return f"""
attributes:
  check_mode:
    description: Whether the module tells what it would change without changing it.
    support: {check}
  diff_mode:
    description: Whether the module shows the change as before and after.
    support: {diff}
"""


class ModuleDocFragment:
    DOCUMENTATION = json.dumps({"notes": _NOTES, "options": {"site": _SITE, "ready_timeout": _READY_TIMEOUT}})
    SITE = json.dumps({"notes": _NOTES, "options": {"site": _SITE}})
    WORKSPACE = """
options:
  name:
    description: The workspace's name.
    type: str
  id:
    description: Its id, instead of the name.
    type: str
"""
    CHECK_AND_DIFF = _attributes("full", "full")
    CHECK = _attributes("full", "none")
    NO_CHECK = _attributes("none", "none")
