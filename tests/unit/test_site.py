"""The parameter ``site`` that each module takes."""

from __future__ import annotations

from typing import Any

import pytest
from atelier.ansible_glue import parse_site
from atelier.errors import AtelierError, Code
from atelier.model import ProxyMode
from support import refused

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
