"""The parameter ``site`` that each module takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from atelier.ansible_module import parse_site
from atelier.common.declared import options
from atelier.common.errors import AtelierError, Code
from atelier.common.models import GIB, ArchiveLimits, ProxyMode, Site
from support import refused

from plugins.doc_fragments.atelier import ModuleDocFragment

RAW: dict[str, Any] = {
    "instance": "i",
    "state_dir": "/s",
    "engine_url": "u",
    "image_prefix": "p",
    "domain": "d",
    "port": 80,
    "protocol": "http",
    "max_workspaces_per_user": 1,
    "max_concurrent_workspaces": 1,
    "networks": {},
    "enable_resource_limits": True,
    "cpu_per_workspace": 1,
    "memory_per_workspace_mb": 1024,
}


def test_the_proxys_port_is_part_of_the_site() -> None:
    network = {"name": "n", "subnet": "10.9.2.0/24", "proxy_port": "3128"}
    parsed = parse_site({**RAW, "networks": {"security": network}}).networks[ProxyMode.SECURITY]
    assert (parsed.proxy_port, parsed.host_address) == (3128, "10.9.2.1")


@pytest.mark.parametrize("folder", ["/root", "/root/atelier/state"])
def test_state_that_the_services_could_not_reach_is_refused(folder: str) -> None:
    with pytest.raises(AtelierError) as error:
        parse_site({**RAW, "state_dir": folder})
    assert folder in refused(error, Code.VALIDATION_ERROR, "site.state_dir")
    assert str(parse_site({**RAW, "state_dir": "/rooted"}).state_dir) == "/rooted"


def test_values_get_the_types_that_are_declared() -> None:
    given = {"port": "8080", "enable_resource_limits": "no", "seat_disk": "20g", "archive": {"content_bytes": "1g"}}
    parsed = parse_site({**RAW, **given, "builds": None, "git": None})
    assert (parsed.port, parsed.quotas.enable_resource_limits, parsed.seat_disk) == (8080, False, 20 * GIB)
    assert parsed.archive == ArchiveLimits(content_bytes=GIB)
    assert (parsed.builds, parsed.git, parsed.seat_file_size) == (None, None, 0)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {**RAW, "portt": 81, "port": "many", "protocol": "gopher", "git": {"owner": "a", "colour": "red"}}
    del wrong["domain"]
    with pytest.raises(AtelierError) as error:
        parse_site(wrong)
    told = refused(error, Code.VALIDATION_ERROR, "site")
    for named in ("portt", "many", "gopher", "domain", "seat_port, service", "unknown: site.git.colour, site.portt"):
        assert named in told


def test_the_documentation_of_the_modules_has_every_setting() -> None:
    site = json.loads(ModuleDocFragment.DOCUMENTATION)["options"]["site"]["suboptions"]
    assert {*site} == {*options(Site)} > {*RAW, "git", "builds"}
    assert site["port"] == {"description": "The gateway's port.", "type": "int", "required": True}
    assert site["git"]["suboptions"]["service"]["choices"] == ["embedded", "forgejo"]
