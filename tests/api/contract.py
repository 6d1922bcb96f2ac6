"""The HTTP contract as tables: each request, and the required shape of its response. Extra keys are allowed."""

from __future__ import annotations

import re
from typing import Any

from atelier.common.egress_modes import ProxyMode

PASSWORD = "secure-password-123"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID = re.compile(r"[0-9a-f]{12}")
SIZE = re.compile(r"\d+(\.\d)?[KMGT]?B")

# What is documented of a project: a type, a tuple of types, or a pattern for strings.
PROJECT: dict[str, Any] = {
    **dict.fromkeys(("id", "projectId"), ID),
    **dict.fromkeys(("name", "projectName", "type", "projectType", "group", "notes", "memoryLimit", "cpuCores"), str),
    "status": re.compile("creating|running|stopped|error"),
    **dict.fromkeys(("createdAt", "lastActivity", "lastAccessed"), TIME),
    "workspaceUrl": re.compile(r"http://[0-9a-f]{12}\.localhost/"),
    **dict.fromkeys(("passwordProtected", "hasGitRepo"), bool),
    **dict.fromkeys(("gitRepoUrl", "gitUrl", "clonedFrom", "stoppedFor", "error"), (str, type(None))),
    **dict.fromkeys(("gitRepository", "diskUsage"), (dict, type(None))),
    "proxyMode": re.compile("|".join(ProxyMode)),
    "aliases": list,
    "warnings": list,
}
CONTAINER: dict[str, Any] = {
    "status": str,
    "health": str,
    "uptime": re.compile(r"(\d+d )?(\d+h )?\d+m"),
    "resources": {"cpu": re.compile(r"\d+\.\d%"), "memory": SIZE},
}
JOB: dict[str, Any] = {
    "id": str,
    "operation": str,
    "state": re.compile("pending|running|successful|failed|error|canceled"),
    "projectIds": list,
    "createdAt": TIME,
    **dict.fromkeys(("startedAt", "finishedAt", "error"), (str, type(None))),
    "progress": {"done": int, "total": int},
    "seats": list,
}
DONE: dict[str, Any] = {"success": True, "message": str}
# In the answer of /api/config both at the top level and inside ``config``.
FLAT_CONFIG: dict[str, Any] = {
    **dict.fromkeys(("gitServerEnabled", "showDiskUsage", "enableProxy"), bool),
    **dict.fromkeys(("gitServerUrl", "baseDomain", "protocol"), str),
    "basePort": int,
}
CONFIG: dict[str, Any] = {
    "platform": "XaresAICoder",
    "version": "4.2.0",
    "features": dict.fromkeys(("gitServer", "passwordProtection", "multipleTemplates"), bool),
    "limits": {
        "maxWorkspacesPerUser": int,
        "workspaceTimeout": int,
        "maxMemoryPerWorkspace": re.compile(r"\d+GB"),
        "maxCPUPerWorkspace": (int, float),
    },
    "gitServer": {"enabled": bool, "url": str, "version": (str, type(None))},
    **FLAT_CONFIG,
    "implementation": {"name": "Atelier", "version": str},
}
STATS: dict[str, Any] = {
    **dict.fromkeys(
        ("totalWorkspaces", "runningWorkspaces", "stoppedWorkspaces", "errorWorkspaces", "totalUsers"), int
    ),
    "systemResources": {
        "totalMemory": SIZE,
        "usedMemory": SIZE,
        "totalCPU": re.compile(r"\d+ cores"),
        "usedCPU": re.compile(r"\d+\.\d cores"),
        "diskUsage": re.compile(r"\d+(\.\d)?[KMGT]?B / \d+(\.\d)?[KMGT]?B"),
    },
}

READS: list[tuple[str, dict[str, Any]]] = [
    ("/api/health", {"status": "ok", "timestamp": TIME, "version": str, "uptime": CONTAINER["uptime"]}),
    ("/api/config", {"success": True, **FLAT_CONFIG, "config": CONFIG}),
    (
        "/api/limits",
        {
            "maxConcurrentWorkspaces": int,
            "cpuPerWorkspace": float,
            "memoryPerWorkspaceMB": int,
            "enableResourceLimits": bool,
        },
    ),
    ("/api/workspace/stats", {"success": True, "stats": STATS}),
    ("/api/projects/", {"success": True, "projects": [PROJECT], "count": int}),
    ("/api/projects", {"success": True, "projects": [PROJECT], "count": int}),
    ("/api/projects/groups", {"success": True, "groups": [str]}),
    ("/api/projects/{id}", {"success": True, "project": {**PROJECT, "container": CONTAINER}}),
    ("/api/projects/{id}/notes", {"success": True, "notes": str}),
    (
        "/api/projects/{id}/disk-usage",
        {
            "success": True,
            "diskUsage": {
                **dict.fromkeys(("bytes", "totalBytes"), int),
                **dict.fromkeys(("readable", "totalReadable"), re.compile(r"\d+(\.\d)? [KMGT]?B")),
            },
        },
    ),
    ("/api/jobs", {"success": True, "jobs": [JOB]}),
    ("/api/jobs/{job}", {"success": True, "job": JOB}),
    ("/api/audit", {"success": True, "entries": [{"at": TIME, "who": str, "what": str, "outcome": str}]}),
]

CHANGES: list[tuple[str, str, Any, int, dict[str, Any]]] = [
    ("PUT", "/notes", {"notes": "Exercises 1-3.\nThen: ü, 日本, 🙂."}, 200, DONE),
    ("PUT", "/name", {"name": "base of all"}, 200, DONE),
    ("PUT", "/name", {"name": "base-of-all"}, 200, DONE),
    ("PUT", "/group", {"group": "workshop-2026"}, 200, DONE),
    ("PUT", "/group", {"group": None}, 200, DONE),
    ("PUT", "/group", {"group": "school"}, 200, DONE),
    ("POST", "/stop", None, 200, {**DONE, "projectId": ID}),
    ("POST", "/stop", {}, 200, {**DONE, "projectId": ID}),
    ("POST", "/start", None, 200, {**DONE, "project": PROJECT}),
    ("POST", "/start", {"password": None}, 200, {**DONE, "project": PROJECT}),
]

NOT_INSTALLED = [
    *((method, "/api/git/repositories") for method in ("GET", "POST")),
]

# Of workspaces that have no such proxy. The flows with real proxies are in tests/e2e/test_egress.py.
NOT_PROXIED = [
    *(("GET", f"/{what}") for what in ("squid-logs", "recorded-domains", "llm-conversations")),
    ("DELETE", "/llm-conversations"),
    ("DELETE", "/llm-conversations/2026-02-14T10:00:00.000Z"),
    ("POST", "/generate-documentation"),
    ("POST", "/recorded-domains/whitelist"),
]

WRONG_METHODS = [
    ("POST", "/api/projects/", "GET"),
    ("GET", "/api/projects/create", "POST"),
    ("DELETE", "/api/projects/create", "POST"),
    ("POST", "/api/projects/groups", "GET"),
    ("DELETE", "/api/projects/groups", "GET"),
    ("PUT", "/api/projects/{id}", "DELETE, GET"),
    ("GET", "/api/projects/{id}/start", "POST"),
    ("POST", "/api/projects/{id}/notes", "GET, PUT"),
    ("POST", "/api/projects/{id}/password", "PUT"),
    ("POST", "/api/health", "GET"),
    ("PATCH", "/api/config", "GET"),
    ("DELETE", "/api/jobs", "GET"),
    ("GET", "/api/workspace/cleanup", "POST"),
    ("DELETE", "/api/whitelist", "GET, POST, PUT"),
]


def matches(value: Any, shape: Any, place: str) -> None:
    """Asserts that the value has at least what the shape documents, with its types. A list shape wants entries: an
    empty list shows nothing of them."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), place
        for key, inner in shape.items():
            assert key in value, f"{place}: {key} is missing in {value}"
            matches(value[key], inner, f"{place}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list) and value, f"{place} is {value!r}"
        for entry in value:
            matches(entry, shape[0], f"{place}[]")
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str) and shape.fullmatch(value), f"{place} is {value!r}"
    elif isinstance(shape, type | tuple):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        assert isinstance(value, kinds), f"{place} is {value!r}"
        assert bool in kinds or not isinstance(value, bool), f"{place} is {value!r}"
    else:
        assert value == shape, f"{place} is {value!r}"
