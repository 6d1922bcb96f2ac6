"""Code shared by all Atelier modules: the site parameter, errors to fail_json, progress.

A module declares its arguments and names one core function; this file does the rest.
"""

from __future__ import annotations

import json
import os
import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.errors import UnsupportedError

from .common.atomic_files import no_space
from .common.declared import build, options
from .common.errors import AtelierError, invalid
from .common.messages import tagged
from .common.models import GitServer, Network, ProxyMode, Site, address
from .containers.container_names import read_names_key
from .containers.context import Context, Progress, open_context
from .git.names import check_owner

_SITE: dict[str, Any] = {
    "description": "The installation the module works on. The inventory composes it as C(atelier_site), which a task"
    " has that names no other.",
    "type": "dict",
    "required": True,
    "options": options(Site),
}
# The options that modules share, by the documentation fragment that a module extends to have them.
SHARED_OPTIONS: Mapping[str, dict[str, Any]] = {
    "atelier": {
        "site": _SITE,
        "ready_timeout": {
            "description": "Seconds that each IDE may take until it answers HTTP. A workspace that is in use is awaited"
            " for one minute longer.",
            "type": "float",
            "default": 60,
        },
    },
    "atelier.site": {"site": _SITE},
    "atelier.workspace": {
        "name": {"description": "The workspace's name.", "type": "str"},
        "id": {"description": "Its id, instead of the name.", "type": "str"},
    },
    "atelier.source": {
        "source": {"description": "Name of the workspace to clone.", "type": "str"},
        "source_id": {"description": "Its id, instead of the name.", "type": "str"},
    },
    "atelier.nodes": {
        "nodes": {
            "description": "Labels of machines, C(name=value). A new workspace is put on a machine that has all of"
            " them, and moves only to such a one. The inventory gives a machine its labels with"
            " C(atelier_node_labels). A clone has those of its source if none are given.",
            "type": "list",
            "elements": "str",
            "default": [],
        },
    },
    "atelier.keep_hours": {
        "keep_hours": {
            "description": "Hours that replaced containers are kept; older ones are removed.",
            "type": "float",
            "default": 24,
        },
    },
}
# What a module returns.
Result = dict[str, Any]
_SECRET = re.compile("hash|password|secret|token")


def checked(declared: Mapping[str, Any], values: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Converts the values to the types of their specification. Raises VALIDATION_ERROR that names all missing, unknown
    and wrong values."""
    result = ArgumentSpecValidator(dict(declared)).validate(dict(values))
    wrong = [
        f"{'unknown: ' * isinstance(error, UnsupportedError)}{error.msg.rstrip('.')}" for error in result.errors.errors
    ]
    if wrong:
        raise invalid("settings.wrong", field, faults="; ".join(wrong))
    return dict(result.validated_parameters)


def parse_site(raw: Mapping[str, Any]) -> Site:
    """Parses the module parameter ``site``. Raises VALIDATION_ERROR if it is invalid."""
    given = checked({"site": _SITE}, {"site": raw}, "site")["site"]
    state_dir = _state_dir(given["state_dir"])
    return build(
        Site,
        given,
        state_dir=state_dir,
        networks=_networks(given["networks"]),
        git=_git_server(given, state_dir),
        names_key=read_names_key(state_dir),
    )


def _networks(raw: Mapping[str, Any]) -> dict[ProxyMode, Network]:
    networks: dict[ProxyMode, Network] = {}
    for mode, network in raw.items():
        try:
            port = network.get("proxy_port")
            networks[ProxyMode(mode)] = Network(
                network["name"], IPv4Network(network["subnet"]), int(port) if port else None
            )
        except (ValueError, KeyError, TypeError) as error:
            raise invalid("settings.network", f"site.networks.{mode}", mode=mode, why=error) from error
    return networks


def _state_dir(path: str) -> Path:
    """The gateway's and the proxies' users access files below the state folder by the same path, and cannot read
    /root."""
    if Path(path).is_relative_to("/root"):
        raise invalid("settings.state_dir", "site.state_dir", path=path)
    return Path(path)


def _git_server(site: Mapping[str, Any], state_dir: Path) -> GitServer | None:
    """The git server of ``site.git``; the roles git_service and forgejo put socket and credentials there."""
    git = site["git"]
    if not git:
        return None
    check_owner(git["owner"])
    # Forgejo has its own host, because its pages must not share an origin with the operator's.
    host = f"git.{site['domain']}" if git["service"] == "forgejo" else site["domain"]
    return build(
        GitServer,
        git,
        socket=state_dir / "gateway" / "git" / "http.sock",
        credentials=state_dir / "git" / "credentials.json",
        base_url=f"{address(site['protocol'], host, site['port'])}/git",
    )


def argument_spec(document: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a module's documentation and of its fragments. One with the name of a secret is logged only if it
    is a switch."""
    shared = ChainMap(*(SHARED_OPTIONS.get(name, {}) for name in document["extends_documentation_fragment"]))
    return {**_declared(document["options"]), **shared}


def _declared(documented: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, option in documented.items():
        spec = {key: option[key] for key in ("type", "elements", "required", "default", "choices") if key in option}
        if "suboptions" in option:
            spec["options"] = _declared(option["suboptions"])
        if _SECRET.search(name):
            spec["no_log"] = option["type"] != "bool"
        found[name] = spec
    return found


def as_module(documentation: str, **rules: Any) -> Callable[[Callable[[AnsibleModule], Result]], Callable[[], None]]:
    """Makes a function the ``main`` of the module that DOCUMENTATION describes: it ends with the function's result, or
    with its AtelierError as msg, error_code and details. Sentences get their codes beside them (see ``tagged``).
    ``rules`` are AnsibleModule's arguments, such as ``required_one_of``."""
    document = yaml_load(documentation)

    def main(call: Callable[[AnsibleModule], Result]) -> None:
        module = AnsibleModule(
            argument_spec=argument_spec(document),
            supports_check_mode="atelier.no_check" not in document["extends_documentation_fragment"],
            **rules,
        )
        try:
            result = call(module)
        except (AtelierError, OSError) as error:
            known = error if isinstance(error, AtelierError) else no_space(error)
            if known is None:
                raise
            fault = {"msg": known.sentence, "error_code": str(known.code), "details": known.details}
            module.fail_json(**tagged(fault))
        else:
            module.exit_json(**tagged(result))

    return lambda call: partial(main, call)


def with_context(
    documentation: str, **rules: Any
) -> Callable[[Callable[[AnsibleModule, Context], Result]], Callable[[], None]]:
    """Like ``as_module``, but opens the installation of the module's ``site`` for the call."""

    def opened(call: Callable[[AnsibleModule, Context], Result], module: AnsibleModule) -> Result:
        with open_context(
            parse_site(module.params["site"]),
            ready_timeout=module.params["ready_timeout"],
            progress=progress_reporter(),
            check_mode=module.check_mode,
        ) as context:
            return call(module, context)

    return lambda call: as_module(documentation, **rules)(partial(opened, call))


def own_options(module: AnsibleModule) -> dict[str, Any]:
    """The module's parameters without those that every module has which opens the installation."""
    return {key: value for key, value in module.params.items() if key not in SHARED_OPTIONS["atelier"]}


def seats_result(seats: Sequence[Any], changed: str) -> Result:
    """The result of a module for many workspaces that fail independently. ``changed`` is the attribute of a seat that
    says whether it was changed."""
    return {
        "changed": any(getattr(seat, changed) for seat in seats),
        "seats": [asdict(seat) for seat in seats],
        "failed_seats": [seat.id for seat in seats if seat.error is not None],
    }


def progress_reporter() -> Progress:
    """Returns a function that appends "step, done, total" as a JSON line to the file in ATELIER_PROGRESS.

    Ansible modules cannot send output while they run, so the caller (the command line, the API) names a file and
    follows it. Without one, nothing is written.
    """
    path = os.environ.get("ATELIER_PROGRESS")
    if not path:
        return lambda step, done, total: None

    def report(step: str, done: int, total: int) -> None:
        # Progress must not fail the work, for example if the reader is gone.
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(tagged({"step": step, "done": done, "total": total})) + "\n")

    return report
