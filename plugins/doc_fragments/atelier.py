"""Shared documentation of the modules, made from the options that the core declares for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[2] / "module_utils"))
from ansible.module_utils.atelier.ansible_module import SHARED_OPTIONS


def _documented(option: Mapping[str, Any]) -> dict[str, Any]:
    if "options" not in option:
        return {**option, "type": "str"} if option["type"] == "bytes" else dict(option)
    inner = {name: _documented(suboption) for name, suboption in option["options"].items()}
    return {**{key: value for key, value in option.items() if key != "options"}, "suboptions": inner}


def _options(fragment: str) -> str:
    return json.dumps({"options": {name: _documented(spec) for name, spec in SHARED_OPTIONS[fragment].items()}})


def _about(check: str, diff: str) -> str:
    """The parts of every module: author, requirements, how it fails, and whether it has a check and a diff mode."""
    return f"""
author: Atelier contributors (@atelier)
requirements: [python >= 3.11, docker]
notes:
  - A failure has C(error_code), what went wrong in one word, such as V(IDE_NOT_READY), and C(details), the field at
    fault (C(field)), its value where it is no secret, and what to do (C(remedy)).
attributes:
  check_mode:
    description: Whether the module tells what it would change without changing it.
    support: {check}
  diff_mode:
    description: Whether the module shows the change as before and after.
    support: {diff}
"""


class ModuleDocFragment:
    DOCUMENTATION = _options("atelier")
    SITE = _options("atelier.site")
    WORKSPACE = _options("atelier.workspace")
    SOURCE = _options("atelier.source")
    NODES = _options("atelier.nodes")
    KEEP_HOURS = _options("atelier.keep_hours")
    CHECK_AND_DIFF = _about("full", "full")
    CHECK = _about("full", "none")
    NO_CHECK = _about("none", "none")
