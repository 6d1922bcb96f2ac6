"""What every Atelier module shares: the site parameter, errors to fail_json, progress.

A module declares its arguments and names one core call; everything between the two is here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from .container_names import read_names_key
from .errors import AtelierError, Code
from .files import no_space
from .forge_names import check_owner
from .messages import tagged
from .model import MIB, ArchiveLimits, Builds, GitServer, Network, ProxyMode, Quotas, Site, address
from .platform import Platform, Progress, open_platform

SITE_SPEC: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "instance": {"type": "str", "required": True},
        "state_dir": {"type": "path", "required": True},
        "engine_url": {"type": "str", "required": True},
        "image_prefix": {"type": "str", "required": True},
        "domain": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "required": True, "choices": ["http", "https"]},
        "networks": {"type": "dict", "required": True},
        "max_workspaces_per_user": {"type": "int", "required": True},
        "max_concurrent_workspaces": {"type": "int", "required": True},
        "enable_resource_limits": {"type": "bool", "required": True},
        "cpu_per_workspace": {"type": "float", "required": True},
        "memory_per_workspace_mb": {"type": "int", "required": True},
        "archive": {
            "type": "dict",
            "options": {
                "max_entries": {"type": "int", "required": True},
                "max_mib": {"type": "int", "required": True},
                "max_seconds": {"type": "float", "required": True},
            },
        },
        "builds": {
            "type": "dict",
            "options": {
                "ide_image": {"type": "str", "required": True},
                "template_dirs": {"type": "list", "elements": "path", "required": True},
                "pip_conf": {"type": "path", "required": True},
                "npmrc": {"type": "path", "required": True},
                "seconds": {"type": "float", "required": True},
            },
        },
        "seat_disk": {"type": "int", "default": 0},
        "seat_file_size": {"type": "int", "default": 0},
        "git": {
            "type": "dict",
            "options": {
                "service": {"type": "str", "required": True, "choices": ["embedded", "forgejo"]},
                "owner": {"type": "str", "required": True},
                "seat_port": {"type": "int", "required": True},
            },
        },
    },
}


def parse_site(raw: Mapping[str, Any]) -> Site:
    """The module parameter ``site`` as a Site. Raises VALIDATION_ERROR for a network that is not one."""
    networks: dict[ProxyMode, Network] = {}
    for mode, network in raw["networks"].items():
        try:
            port = network.get("proxy_port")
            networks[ProxyMode(mode)] = Network(
                network["name"], IPv4Network(network["subnet"]), int(port) if port else None
            )
        except (ValueError, KeyError, TypeError) as error:
            raise AtelierError(
                Code.VALIDATION_ERROR,
                f"site.networks.{mode} is not a network: {error}.",
                field=f"site.networks.{mode}",
                remedy="Give a proxy mode with a name and a subnet such as 172.28.0.0/16.",
            ) from error
    state_dir = _state_dir(raw["state_dir"])
    return Site(
        instance=raw["instance"],
        state_dir=state_dir,
        engine_url=raw["engine_url"],
        image_prefix=raw["image_prefix"],
        domain=raw["domain"],
        port=raw["port"],
        protocol=raw["protocol"],
        networks=networks,
        quotas=Quotas(
            max_workspaces_per_user=raw["max_workspaces_per_user"],
            max_concurrent_workspaces=raw["max_concurrent_workspaces"],
            enforce_resources=raw["enable_resource_limits"],
            cpu_per_workspace=raw["cpu_per_workspace"],
            memory_per_workspace_mb=raw["memory_per_workspace_mb"],
        ),
        git=_git_server(raw, state_dir),
        archive=_archive_limits(raw),
        builds=_builds(raw),
        seat_disk=raw.get("seat_disk", 0),
        seat_file_size=raw.get("seat_file_size", 0),
        names_key=read_names_key(state_dir),
    )


def _state_dir(path: str) -> Path:
    """The gateway's and the proxies' users reach what is mounted there by the same path, and none looks into /root."""
    if Path(path).is_relative_to("/root"):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The state folder {path} lies below /root, which the services in their containers may not look into.",
            field="site.state_dir",
            remedy="Set atelier_state_dir to a folder elsewhere, such as /var/lib/atelier.",
        )
    return Path(path)


def _git_server(raw: Mapping[str, Any], state_dir: Path) -> GitServer | None:
    """The git server of ``site.git``; the roles git_service and forgejo put socket and credentials there."""
    git = raw.get("git")
    if not git:
        return None
    return GitServer(
        service=git["service"],
        owner=check_owner(git["owner"]),
        socket=state_dir / "gateway" / "git" / "http.sock",
        credentials=state_dir / "git" / "credentials.json",
        seat_port=git["seat_port"],
        base_url=f"{address(raw['protocol'], _git_host(git['service'], raw['domain']), raw['port'])}/git",
    )


def _archive_limits(raw: Mapping[str, Any]) -> ArchiveLimits:
    """Those of ``site.archive``; settings that a version without them wrote have the defaults."""
    limits = raw.get("archive")
    if not limits:
        return ArchiveLimits()
    return ArchiveLimits(int(limits["max_entries"]), int(limits["max_mib"]) * MIB, float(limits["max_seconds"]))


def _builds(raw: Mapping[str, Any]) -> Builds | None:
    builds = raw.get("builds")
    if not builds:
        return None
    return Builds(
        ide_image=builds["ide_image"],
        template_dirs=tuple(map(Path, builds["template_dirs"])),
        pip_conf=Path(builds["pip_conf"]),
        npmrc=Path(builds["npmrc"]),
        seconds=float(builds["seconds"]),
    )


def _git_host(service: str, domain: str) -> str:
    """Forgejo's pages must not share an origin with the operator's, so it has a host of its own."""
    return f"git.{domain}" if service == "forgejo" else domain


# The options that every module which changes something takes besides its own.
SHARED_SPEC: dict[str, Any] = {
    "site": SITE_SPEC,
    "ready_timeout": {"type": "float", "default": 60},
}
# Those of a module for one workspace, which takes its name or its id.
WORKSPACE_SPEC: dict[str, Any] = {**SHARED_SPEC, "name": {"type": "str"}, "id": {"type": "str"}}


def run(module: Any, call: Callable[[], dict[str, Any]]) -> None:
    """Ends the module: with what ``call`` returns, or with its AtelierError as msg, error_code and details.
    Beside sentences stand their codes, as ``tagged`` puts them."""
    try:
        result = call()
    except AtelierError as error:
        _fail(module, error)
    except OSError as error:
        full = no_space(error)
        if full is None:
            raise
        _fail(module, full)
    else:
        module.exit_json(**tagged(result))


def _fail(module: Any, error: AtelierError) -> None:
    module.fail_json(**tagged({"msg": error.sentence, "error_code": str(error.code), "details": error.details}))


def run_on_platform(module: Any, call: Callable[[Platform], dict[str, Any]]) -> None:
    """As ``run``, with the installation that the module's SHARED_SPEC parameters name opened for the call."""

    def opened() -> dict[str, Any]:
        with open_platform(
            parse_site(module.params["site"]),
            ready_timeout=module.params["ready_timeout"],
            progress=progress_reporter(),
            check_mode=module.check_mode,
        ) as platform:
            return call(platform)

    run(module, opened)


def own_options(module: Any) -> dict[str, Any]:
    """What the module was given, apart from SHARED_SPEC."""
    return {key: value for key, value in module.params.items() if key not in SHARED_SPEC}


def seats_result(seats: Sequence[Any], changed: str) -> dict[str, Any]:
    """The result of a module that works on many workspaces, each of which may fail alone. ``changed`` is the attribute
    of a seat that says whether it was changed."""
    return {
        "changed": any(getattr(seat, changed) for seat in seats),
        "seats": [asdict(seat) for seat in seats],
        "failed_seats": [seat.id for seat in seats if seat.error is not None],
    }


def progress_reporter() -> Progress:
    """A function that notes "step, done, total" as one JSON line in the file that ATELIER_PROGRESS names.

    Ansible modules can't speak while they run, so whoever started the playbook (the front door, the API) names a
    file and follows it. Without one, nothing is noted.
    """
    path = os.environ.get("ATELIER_PROGRESS")
    if not path:
        return lambda step, done, total: None

    def report(step: str, done: int, total: int) -> None:
        # Nobody's work may fail because the one who watched it has gone.
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(tagged({"step": step, "done": done, "total": total})) + "\n")

    return report
