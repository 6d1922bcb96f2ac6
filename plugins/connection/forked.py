"""Runs modules for this machine in a copy of the process that Ansible has forked for the task, instead of in a new
interpreter.

A new Python would only import, and compile out of an archive, what this one has loaded: that is most of what a
task on the controller costs. The copy runs the same program as a new interpreter would, with separate standard
streams, and ends; nothing of it is left in the worker.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import signal
import sys
from types import CodeType
from typing import NoReturn

from ansible.module_utils import _internal
from ansible.plugins.connection import local

DOCUMENTATION = """
name: forked
short_description: Run modules on the controller in a copy of Ansible's own process
description:
  - Like C(ansible.builtin.local), but a module that would run in Ansible's own Python needs no new interpreter.
author: Atelier (@atelier)
version_added: 0.3.0
extends_documentation_fragment: connection_pipelining
options:
  # Of Ansible's own, which reads them.
  become_success_timeout:
    description: Seconds to wait for another user's shell.
    type: int
    default: 10
  become_strip_preamble:
    description: Whether the output of becoming another user is left out.
    type: bool
    default: true
"""

# Others, of a `library` folder, are in the packed program only.
_IMPORTABLE = re.compile(rb"^module_fqn='(ansible\.modules|ansible_collections)\.", re.MULTILINE)


class Connection(local.Connection):
    """Ansible's own, but for modules of Ansible and of collections that would run in this Python."""

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        # The command that the shell plugin builds without an environment and with a piped module.
        plain = shlex.split(cmd)[2:] == [f"{sys.executable} && sleep 0"]
        if not in_data or not plain or self.become or not _IMPORTABLE.search(in_data):
            answer: tuple[int, bytes, bytes] = super().exec_command(cmd, in_data, sudoable)
            return answer
        program = compile(in_data, "module", "exec")
        # In memory, because results may hold secrets; not pipes, which nobody reads while the copy runs.
        with os.fdopen(os.memfd_create("output"), "rb") as output, os.fdopen(os.memfd_create("errors"), "rb") as errors:
            if (child := os.fork()) == 0:
                _run(program, self.cwd, output.fileno(), errors.fileno())
            _, status = os.waitpid(child, 0)
            output.seek(0)
            errors.seek(0)
            return os.waitstatus_to_exitcode(status), output.read(), errors.read()


def _run(program: CodeType, folder: str | None, output: int, errors: int) -> NoReturn:
    """Runs it as a new interpreter would, and ends the process."""
    code = 1
    try:
        # Ansible's exit handlers belong to its worker.
        atexit._clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        sys.argv = ["module"]
        os.chdir(folder or ".")
        # Warnings must be part of the module's result.
        _internal.is_controller = False
        exec(program, {"__name__": "__main__"})  # noqa: S102 - Ansible made it
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # In any case end here: Ansible's worker code must not continue in the copy.
            os._exit(code)
