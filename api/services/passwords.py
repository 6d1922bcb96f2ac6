"""Generated passwords, shown once and never stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from atelier.common.errors import AtelierError
from atelier.common.passwords import generate_password, hash_password

from ..auth.middleware import Caller
from ..core.batcher import Wish
from ..runner.operations import HASHES, password_errors, raise_for
from .jobs import start_job
from .services import Services

# Interval for checking which seats of a run have their passwords.
_LOOK_SECONDS = 0.2


async def new_password(services: Services, caller: Caller, workspace_id: str) -> str:
    """Sets a generated password on the workspace with the playbook of PUT password, and returns it. Raises the
    playbook's error."""

    async def run(hashes: Mapping[str, str], done: Callable[[str], None]) -> Mapping[str, AtelierError]:
        services.require_docker()
        job, _ = await start_job(services, caller, "password", list(hashes), {HASHES: hashes})
        end = asyncio.ensure_future(services.queue.first_result(job.id))
        try:
            while not end.done():
                await asyncio.wait({end}, timeout=_LOOK_SECONDS)
                # If the database cannot be read, wait for the run's end.
                with suppress(AtelierError):
                    for id, password_hash in hashes.items():
                        row = services.reads.find(id=id)
                        if row is not None and row.password_hash == password_hash:
                            done(id)
        finally:
            end.cancel()
        ended = await end
        errors = password_errors(ended)
        if errors is None:
            raise_for(ended)
        return errors or {}

    password = generate_password()
    password_hash = await asyncio.to_thread(hash_password, password)
    row = services.row(workspace_id)
    await services.password_batcher.call(Wish(row.id, run, password_hash, caller.name))
    return password
