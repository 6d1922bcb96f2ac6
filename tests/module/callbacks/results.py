"""Writes each task's whole result as a line of JSON, for tests: the file is named by ATELIER_TEST_RESULTS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: results
type: notification
short_description: Results of tasks as JSON lines
description: One line a task, item or failure, in the file that E(ATELIER_TEST_RESULTS) names.
requirements: [enabled in configuration]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def _write(self, outcome: str, result: Any) -> None:
        line = {"task": result.task.get_name(), "outcome": outcome, "result": result.result}
        with Path(os.environ["ATELIER_TEST_RESULTS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
