"""Runs an Atelier module in the worker that Ansible has forked for the task, instead of in a new interpreter.

Almost all modules work on the controller only, so packing them for another machine and starting and compiling them in a
second Python has no benefit, and costs 0.6 s per task. The module itself does not notice: its ``main`` reads its
arguments and answers as usual. Those that look at the machine of the task are packed for another machine and run there.

A task also gets here what is the same for all tasks of an installation, and which it therefore leaves out.

Each module that runs this way has a link to this file, because Ansible finds an action by its file's name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.module_utils import basic
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

_ON_NODES = ("port_check", "subnet_check")  # they look at ports, routes and name servers of the task's host
# The shared options that have the value of a variable if a task has no other, by their documentation's fragment.
_FROM_INVENTORY = {
    "atelier": {"site": "atelier_site", "ready_timeout": "atelier_ready_timeout"},
    "atelier.site": {"site": "atelier_site"},
    "atelier.keep_hours": {"keep_hours": "atelier_reset_keep_hours"},
}
_PROFILE = "legacy"  # the one that every module speaks which declares no other


class ActionModule(ActionBase):
    """The action of each Atelier module."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        elsewhere = self._connection.transport != "local"
        if elsewhere and self._task.action not in _ON_NODES:
            reason = f"{self._task.action} runs on the controller only, not over {self._connection.transport}."
            raise AnsibleActionFail(f"{reason} Run it on a host with ansible_connection: local.")
        result: dict[str, Any] = super().run(tmp, task_vars)
        module = _load(Path(self._shared_loader_obj.module_loader.find_plugin(self._task.action)))
        for option, variable in _shared_by_all(module).items():
            if option not in self._task.args and variable in (task_vars or {}):
                self._task.args[option] = self._templar.resolve_variable_expression(variable)
        if elsewhere or self._task.async_val or self._connection.become or any(self._task.environment or ()):
            # The task requires a separate process: another machine, the background, another user, an environment.
            return result | self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val))
        arguments = dict(self._task.args)
        self._update_module_args(self._task.action, arguments, task_vars or {})
        output = io.StringIO()
        with _arguments(arguments), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            module.main()
        result.update(self._parse_returned_data({"stdout": output.getvalue()}, _PROFILE))
        return result


def _shared_by_all(module: ModuleType) -> dict[str, str]:
    """The module's options that the inventory gives, and their variables."""
    fragments = yaml_load(module.DOCUMENTATION)["extends_documentation_fragment"]
    return {
        option: variable for fragment in fragments for option, variable in _FROM_INVENTORY.get(fragment, {}).items()
    }


@contextlib.contextmanager
def _arguments(arguments: Mapping[str, Any]) -> Any:
    """Hands the arguments to the AnsibleModule made in this block, in the way that a packed module gets them."""
    encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": dict(arguments)}, cls=encoder).encode()
    basic._ANSIBLE_PROFILE = _PROFILE
    try:
        yield
    finally:
        basic._ANSIBLE_ARGS = basic._ANSIBLE_PROFILE = None


def _load(file: Path) -> ModuleType:
    """Loads the module's code. Its imports from ansible.module_utils are found where Ansible's packer looks."""
    packages = ansible.module_utils.__path__
    packages.extend(path for path in C.DEFAULT_MODULE_UTILS_PATH if path not in packages)
    spec = importlib.util.spec_from_file_location(f"atelier_modules.{file.stem}", file)
    assert spec is not None and spec.loader is not None, file  # noqa: S101 - only a file that is no Python has none
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
