"""The settings of an API for tests and the bench: as declared, with the values that the inventory gives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from api.settings import declared

ROOT = Path(__file__).parent.parent
_EVALUATE = "msg={{ dict(names | zip(query('ansible.builtin.vars', *names))) }}"
# Those that no inventory has, as the role finds them out.
_BY_THE_ROLE = ("atelier_api_templates", "atelier_api_version", "atelier_api_token", "atelier_api_secrets")


def write_settings(folder: Path, token: str, **settings: Any) -> Path:
    """Writes the settings file of an API, and the files that it names. ``settings`` are named as in api/settings.py and
    replace the inventory's, dictionaries as a whole."""
    files = {"api_token": folder / "token", "api_secrets": folder / "secrets.json"}
    made = {"api_templates": ["empty"], "api_version": "tests", **{name: str(path) for name, path in files.items()}}
    values = inventory_values() | {f"atelier_{name}": value for name, value in (made | settings).items()}
    secrets = {name: values.pop(name) for name, option in declared().items() if option.get("no_log")}
    settings_file = folder / "settings.json"
    contents = {files["api_token"]: token, files["api_secrets"]: json.dumps(secrets), settings_file: json.dumps(values)}
    for path, content in contents.items():
        path.touch(mode=0o600)
        path.write_text(content)
    return settings_file


@cache
def inventory_values() -> Mapping[str, Any]:
    """The declared variables as the inventory has them."""
    names = [name for name in declared() if name not in _BY_THE_ROLE]
    inventory = str(ROOT / "inventory" / "localhost.yml")
    ansible = [str(Path(sys.executable).with_name("ansible")), "localhost", "--inventory", inventory]
    command = [*ansible, "-m", "ansible.builtin.debug", "-a", _EVALUATE, "-e", json.dumps({"names": names})]
    # No variable of this environment, such as WORKSHOP_GROUP, takes the place of a default.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return dict(json.loads(ended.stdout[ended.stdout.index("{") :])["msg"])
