"""Makes backups by the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, time, timedelta

from atelier.backup.create import last_backup, note_failure

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..runner.operations import BACKUP
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
# Delay after a failed backup.
_RETRY = timedelta(hours=1)
_CALLER = Caller("127.0.0.1", "schedule")


class BackupSchedule:
    """A task of the API; does nothing if no times are set."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings.backup
        self._since = _now()
        # The last attempt of which nothing was noted, or may not have been: the disk may be full.
        self._failed_at: datetime | None = None

    async def run(self) -> None:
        if self._settings.times:
            await run_periodically(log, "making a backup", _EVERY_SECONDS, self._look, self._services.watcher)

    async def _look(self) -> None:
        services, state_dir = self._services, self._services.settings.site.state_dir
        last = last_backup(state_dir)
        tried, failed = datetime.fromisoformat(last.ended_at).astimezone() if last.ended_at else None, bool(last.error)
        if self._failed_at is not None and (tried is None or tried < self._failed_at):
            tried, failed = self._failed_at, True
        if not is_due(_now(), self._settings.clock_times, tried, failed=failed, since=self._since):
            return
        if any(job.operation == BACKUP for job in services.read_jobs.unfinished()):
            return
        variables = {
            "atelier_backup_repository": self._settings.repository,
            "atelier_backup_password_file": str(self._settings.password_file),
            "atelier_backup_environment_file": self._settings.environment_file,
            "atelier_backup_keep": dict(self._settings.keep),
            # An empty folder where a disk should be mounted must not become the repository.
            "backup_create": False,
        }
        self._failed_at = _now()
        _, end = await start_job(services, _CALLER, BACKUP, [], variables)
        ended = await end
        if ended.error is None:
            self._failed_at = None
            return
        log.error("the backup failed: %s", ended.error)
        self._failed_at = _now()
        # The module notes its own failures, but not that it was killed or never ran.
        if last_backup(state_dir) == last:
            await asyncio.to_thread(note_failure, state_dir, ended.error.sentence)


def is_due(moment: datetime, times: Iterable[time], tried: datetime | None, *, failed: bool, since: datetime) -> bool:
    """Whether a time of the schedule has come since the last backup was tried, or the API started where none was; or
    an hour has passed since one that failed."""
    if tried is not None and failed and moment - tried >= _RETRY:
        return True
    begins = (moment.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0) for at in times)
    latest = max((at if at <= moment else at - timedelta(days=1) for at in begins), default=None)
    return latest is not None and latest > (tried or since)


def _now() -> datetime:
    return datetime.now().astimezone()
