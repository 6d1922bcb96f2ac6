"""What lives as long as the API, in one object."""

from __future__ import annotations

from dataclasses import dataclass

from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.steady_clock import SteadyClock
from atelier.database.claims import Claims
from atelier.database.job_store import Job, Jobs
from atelier.database.workspace_store import WorkspaceStore
from atelier.egress.categories import Categories
from atelier.egress.clients import write_client_map
from atelier.egress.group_whitelists import GroupWhitelists
from atelier.egress.squid import Squid
from atelier.engine.interface import Engine
from atelier.gateway.haproxy import Gateway
from atelier.gateway.port_access import port_routes

from ..auth.admin_password import AdminPassword
from ..auth.alias_auth import AliasAuth
from ..auth.audit import Audit
from ..auth.browsers import Browsers
from ..auth.hashing import Hashing
from ..auth.sessions import Sessions
from ..auth.workspace_password import PasswordCheck
from ..core.event_streams import Streams
from ..core.rate_limit import Limiter
from ..monitoring.disk_gauge import DiskGauge
from ..monitoring.docker_events import Watcher
from ..monitoring.git_server import GitVersion
from ..monitoring.seat_activity import Activities
from ..monitoring.seat_threads import SeatThreads
from ..monitoring.stats import Sampler
from ..runner.queue import Queue
from ..settings import Settings
from .claim_batcher import ClaimBatcher
from .password_batcher import PasswordBatcher
from .presenter import Presenter


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the API does."""

    settings: Settings
    store: WorkspaceStore
    # A separate connection for reads on the event loop, so that they never wait for writes.
    reads: WorkspaceStore
    locks: Locks
    jobs: Jobs
    queue: Queue
    watcher: Watcher
    sampler: Sampler
    disk: DiskGauge
    presenter: Presenter
    passwords: PasswordCheck
    sign_ins: Limiter
    # Port share changes by participants, by workspace.
    shares: Limiter
    sessions: Sessions
    streams: Streams
    activities: Activities
    # For queries about one seat that a caller waits for.
    seat_threads: SeatThreads
    claim_batcher: ClaimBatcher
    password_batcher: PasswordBatcher
    admin_password: AdminPassword
    claimants: Browsers
    alias_auth: AliasAuth
    hashing: Hashing
    audit: Audit
    clock: SteadyClock
    git_version: GitVersion
    domain_categories: Categories
    started: float

    @property
    def read_jobs(self) -> Jobs:
        return Jobs(self.reads)

    @property
    def read_claims(self) -> Claims:
        return Claims(self.reads, self.settings.workshop.group)

    def row(self, project_id: str) -> Workspace:
        """The workspace. Raises PROJECT_NOT_FOUND, also for an invalid id."""
        row = self.reads.find(id=project_id) if len(project_id) == 12 else None
        if row is None:
            raise AtelierError(
                Code.PROJECT_NOT_FOUND, Message("api.no_project"), field="projectId", value=project_id[:40]
            )
        return row

    def write_client_map(self) -> None:
        """Updates the egress proxies' client map after a change without a playbook."""
        write_client_map(self.settings.site, self.store, self.locks)

    def sync_ports(self) -> None:
        """Writes the gateway's map of port passwords and shared ports."""
        Gateway(self.settings.site.state_dir, self.locks, "ports.map").sync(lambda: port_routes(self.store))

    def squid(self) -> Squid:
        """Squid's files, to be read; its container is the playbooks' business."""

        def no_engine() -> Engine:
            raise AssertionError("reading needs no engine")

        site = self.settings.site
        return Squid(site.state_dir, site.instance, no_engine, self.settings.ready_timeout)

    def group_whitelists(self) -> GroupWhitelists:
        return GroupWhitelists(self.settings.site.state_dir, self.settings.ready_timeout)

    def job(self, job_id: str) -> Job:
        job = self.read_jobs.find(job_id)
        if job is None:
            raise AtelierError(Code.NOT_FOUND, Message("api.no_job"), field="jobId", value=job_id[:40])
        return job

    def require_docker(self) -> None:
        """Raises SERVICE_UNAVAILABLE while Docker does not answer."""
        if not self.watcher.available:
            raise AtelierError(Code.SERVICE_UNAVAILABLE, Message("api.docker_away"))
