"""Generated passwords, shown once and never stored."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from atelier.common.errors import AtelierError
from atelier.common.passwords import generate_password, hash_password

from ..auth.middleware import Caller
from ..runner.operations import HASHES, password_errors, raise_for
from .jobs import start_job
from .services import Services


async def new_password(services: Services, caller: Caller, workspace_id: str) -> str:
    """Sets a generated password on the workspace with the playbook of PUT password, and returns it. Raises the
    playbook's error."""

    async def run(hashes: Mapping[str, str]) -> Mapping[str, AtelierError]:
        services.require_docker()
        job, _ = await start_job(services, caller, "password", list(hashes), {HASHES: hashes})
        ended = await services.queue.first_result(job.id)
        errors = password_errors(ended)
        if errors is None:
            raise_for(ended)
        return errors or {}

    def applied(hashes: Mapping[str, str]) -> Collection[str]:
        rows = {id: services.reads.find(id=id) for id in hashes}
        return [id for id, row in rows.items() if row is not None and row.password_hash == hashes[id]]

    password = generate_password()
    password_hash = await asyncio.to_thread(hash_password, password)
    row = services.row(workspace_id)
    await services.password_batcher.change(caller.name, row.id, password_hash, run, applied)
    return password
