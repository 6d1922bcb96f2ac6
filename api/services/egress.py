"""The whitelist, and the workspaces whose traffic is logged or recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from atelier.common.egress_modes import Capability
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, untagged
from atelier.common.models import Workspace
from atelier.egress.group_whitelists import GroupWhitelists
from atelier.egress.squid_config import Configuration, live_configuration
from atelier.egress.squid_log import LogEntry, last_requests_anywhere
from atelier.egress.whitelist import WhitelistMode
from atelier.recordings.folders import Recorded, recorded_anywhere

from ..auth.middleware import Caller
from ..schemas.egress import WhitelistChanged
from .jobs import run_job
from .services import Services


async def last_requests(
    services: Services, project_id: str, lines: int
) -> tuple[Workspace, list[LogEntry], Sequence[str]]:
    """The workspace, its last requests in the access logs of all machines, and the machines that did not answer. Raises
    PROJECT_NOT_FOUND if no proxy logs its requests."""
    row = _that_can(services, project_id, Capability.LOG, Message("api.not_logged"))
    site, engine_of = services.settings.site, services.impatient_engines.of
    return row, *await asyncio.to_thread(last_requests_anywhere, site, engine_of, row, lines)


async def recordings(services: Services, project_id: str) -> tuple[Workspace, Recorded]:
    """The workspace, and its recordings on all machines. Raises PROJECT_NOT_FOUND if it is not recorded."""
    row = _that_can(services, project_id, Capability.RECORD, Message("api.not_recorded"))
    site, engine_of = services.settings.site, services.impatient_engines.of
    return row, await asyncio.to_thread(recorded_anywhere, site, engine_of, row.id)


def _that_can(services: Services, project_id: str, capability: Capability, otherwise: Message) -> Workspace:
    row = services.reads.find(id=project_id) if len(project_id) == 12 else None
    if row is None or not row.proxy_mode.can(capability):
        raise AtelierError(Code.PROJECT_NOT_FOUND, otherwise, field="projectId", value=project_id[:40])
    return row


async def whitelists(services: Services) -> tuple[Configuration, Mapping[str, Sequence[str]]]:
    """The whitelist of all workspaces of the mode security, and the groups' additional lists. Raises
    SERVICE_UNAVAILABLE without Squid."""
    live = await asyncio.to_thread(live_configuration, services.settings.site.state_dir)
    return live, await asyncio.to_thread(_group_lists(services).all)


async def change_whitelist(
    services: Services, caller: Caller, entries: tuple[str, ...], state: WhitelistMode, group: str | None
) -> WhitelistChanged:
    """Changes the whitelist or a group's list; it is in effect when this returns, but on the nodes that are named."""
    services.require_docker()
    state_dir = services.settings.site.state_dir
    await asyncio.to_thread(live_configuration, state_dir)  # refuses at once where there is no Squid
    variables = {"whitelist_domains": entries, "whitelist_state": str(state), "whitelist_group": group or ""}
    ended = await run_job(services, caller, "whitelist", [], variables)
    if group is None:
        domains = (await asyncio.to_thread(live_configuration, state_dir)).entries
    else:
        domains = (await asyncio.to_thread(_group_lists(services).all)).get(group, ())
    behind = ended.results.get("squid_whitelist", {}).get("nodes_behind")
    changed: WhitelistChanged = {"success": True, "domainCount": len(domains), "domains": domains}
    return {**changed, "nodesBehind": untagged(behind)} if behind else changed


def _group_lists(services: Services) -> GroupWhitelists:
    return GroupWhitelists(services.settings.site.state_dir, services.settings.ready_timeout)
