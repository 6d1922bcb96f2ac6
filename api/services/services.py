"""The services that live as long as the API, in one object."""

from __future__ import annotations

import time

from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.steady_clock import SteadyClock
from atelier.containers.engines import Engines
from atelier.containers.node_lists import PATIENCE_SECONDS
from atelier.database.claims import Claims
from atelier.database.job_store import Job, Jobs
from atelier.database.workspace_store import WorkspaceStore
from atelier.egress.categories import read_categories
from atelier.gateway.haproxy import Gateway
from atelier.gateway.port_access import port_routes

from ..auth.admin_password import AdminPassword
from ..auth.alias_auth import AliasAuth
from ..auth.audit import Audit
from ..auth.browsers import Browsers
from ..auth.sessions import Sessions
from ..core.event_streams import Streams
from ..core.password_batcher import password_batcher
from ..core.rate_limit import Limiter
from ..core.wakes import Wakes
from ..monitoring.disk_gauge import DiskGauge
from ..monitoring.docker_events import Watcher
from ..monitoring.platform_health import GitVersion, PlatformHealth
from ..monitoring.seat_activity import Activities
from ..monitoring.seat_threads import SeatThreads
from ..monitoring.stats import Sampler
from ..runner.operations import OPERATIONS, leaving
from ..runner.queue import Queue
from ..settings import Settings
from .claim_batcher import ClaimBatcher, out_of_reach
from .presenter import Presenter

# Maximum failed attempts per minute: per address, and per workspace.
_WRONG_TOKENS = 10
_WRONG_PASSWORDS = 10
# Maximum changes of a workspace's shared ports per minute. Each writes the gateway's table.
_SHARES = 10
_SEAT_THREADS = 8
_ENGINE_SECONDS = 30


class Services:
    """Everything that lives as long as the API does. ``reads`` is a separate connection for reads on the event loop, so
    that they never wait for writes."""

    def __init__(
        self,
        settings: Settings,
        store: WorkspaceStore,
        reads: WorkspaceStore,
        locks: Locks,
        sessions: Sessions,
        admin_password: AdminPassword,
    ) -> None:
        site, workshop = settings.site, settings.workshop
        self.settings, self.store, self.reads, self.locks = settings, store, reads, locks
        self.sessions, self.admin_password = sessions, admin_password
        self.jobs = Jobs(store)
        self.read_jobs = Jobs(reads)
        self.read_claims = Claims(reads, workshop.group, wakes=settings.wake_on_visit)
        self.watcher = Watcher(site, store, locks)
        self.sampler = Sampler(site, self.watcher)
        self.engines = Engines(site, patience=_ENGINE_SECONDS)
        # For requests that a person waits for and that need all machines.
        self.impatient_engines = Engines(site, patience=PATIENCE_SECONDS)
        self.queue = Queue(settings, self.jobs, OPERATIONS, self.watcher)
        self.disk = DiskGauge(site)
        self.presenter = Presenter(settings, self.watcher, self.sampler, reads)
        # Wrong passwords of workspaces, by id.
        self.wrong_passwords = Limiter(_WRONG_PASSWORDS, "too_many.passwords")
        self.sign_ins = Limiter(_WRONG_TOKENS, "too_many.tokens")
        # Port share changes by participants, by workspace.
        self.shares = Limiter(_SHARES, "too_many.port_changes")
        self.streams = Streams()
        self.activities = Activities(site, self.watcher)
        # For queries about one seat that a caller waits for.
        self.seat_threads = SeatThreads(_SEAT_THREADS, "seats")
        self.claim_tries = Limiter(workshop.claims_per_minute, "too_many.claims")
        self.claim_batcher = ClaimBatcher(
            Claims(store, workshop.group, workshop.seats_per, settings.wake_on_visit),
            lambda: leaving(self.jobs) | out_of_reach(store, self.watcher.answers),
            password_pending=workshop.generate_passwords,
        )
        self.password_batcher = password_batcher()
        self.wakes = Wakes(settings.wakes_per_minute)
        self.claimants = Browsers(settings.token, "", site.protocol, "claimant")
        self.alias_auth = AliasAuth()
        self.audit = Audit(site.state_dir, place=self.place)
        self.clock = SteadyClock()
        self.git_version = GitVersion(site)
        self.health = PlatformHealth(site, self.engines, self.git_version)
        self.domain_categories = read_categories(settings.domain_categories)
        self.started = time.monotonic()

    def row(self, project_id: str) -> Workspace:
        """The workspace. Raises PROJECT_NOT_FOUND, also for an invalid id."""
        row = self.reads.find(id=project_id) if len(project_id) == 12 else None
        if row is None:
            raise AtelierError(
                Code.PROJECT_NOT_FOUND, Message("api.no_project"), field="projectId", value=project_id[:40]
            )
        return row

    def place(self, workspace_id: str) -> str | None:
        """The workspace's machine; None on a single machine, and for one that is gone."""
        row = self.reads.find(id=workspace_id) if self.settings.site.nodes else None
        return row.node if row else None

    def sync_ports(self) -> None:
        """Writes the gateway's map of port passwords and shared ports."""
        Gateway(self.settings.site.state_dir, self.locks, "ports.map").sync(lambda: port_routes(self.store))

    def job(self, job_id: str) -> Job:
        job = self.read_jobs.find(job_id)
        if job is None:
            raise AtelierError(Code.NOT_FOUND, Message("api.no_job"), field="jobId", value=job_id[:40])
        return job

    def require_docker(self) -> None:
        """Raises SERVICE_UNAVAILABLE while Docker does not answer."""
        if not self.watcher.available:
            raise AtelierError(Code.SERVICE_UNAVAILABLE, Message("api.docker_away"))
