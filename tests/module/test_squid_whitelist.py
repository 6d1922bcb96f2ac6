"""The whitelist module on a real Squid: its changes, its refusals, and the state after a kill at any moment."""

from __future__ import annotations

import http.client
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from atelier.egress.squid_config import Configuration
from atelier.egress.whitelist import BASE
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from tests.module.installation import Installation, Run, Started
from tests.module.killing import kill_when
from tests.waiting import eventually

NETWORK, SUBNET, PROXY = "atelier-test-security", "172.31.240.0/24", "172.31.240.1"
DOMAINS = [f"host{number}.organisation-{number % 997}.example" for number in range(5000)]


class Proxied(Installation):
    """An installation with a Squid, made by its role."""

    def role(self, **variables: Any) -> Run:
        path = self.folder / "role.json"
        play = {"hosts": "localhost", "roles": [{"role": "squid"}]}
        path.write_text(json.dumps([play]))
        return self.play(path, atelier_squid_subnet=SUBNET, **variables)

    def set(self, *flags: str, **variables: Any) -> Run:
        return self.play("whitelist_set", *flags, **{f"whitelist_{key}": value for key, value in variables.items()})

    def begin(self, **variables: Any) -> Started:
        return self.start("whitelist_set", **{f"whitelist_{key}": value for key, value in variables.items()})

    @property
    def live(self) -> Configuration:
        return Configuration((self.state / "squid" / "squid.conf").read_text())

    @property
    def squid(self) -> Any:
        return self.docker.containers.get(f"{self.name}-squid")

    def squid_reads(self) -> bool:
        """Whether Squid itself takes the file that is live."""
        code, output = self.squid.exec_run(["squid", "-k", "parse", "-f", "/srv/squid/squid.conf"])
        return code == 0 and b"FATAL" not in output

    def apply_begun(self) -> Callable[[], bool]:
        """Tells, again and again, whether an apply has begun since this call: it has written its candidate."""
        candidate = self.state / "squid" / "squid.conf.candidate"

        def file() -> int | None:
            with suppress(FileNotFoundError):
                return candidate.stat().st_ino
            return None

        before = file()  # which a killed run left
        return lambda: file() not in (None, before)

    def kill_squid(self) -> None:
        script = "import os; os.kill(int(open('/run/squid.pid').read()), 9)"
        self.squid.exec_run(["python3", "-c", script])

    def files(self) -> set[str]:
        return {path.name for path in (self.state / "squid").iterdir()}


@pytest.fixture(scope="module")
def squid(engine: docker.DockerClient) -> Iterator[Proxied]:
    _remove_network(engine)
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
    made = engine.networks.create(NETWORK, driver="bridge", internal=True, ipam=pool)
    folder = Path(tempfile.mkdtemp(prefix="atelier-test-squid-"))
    url = "unix:///var/run/docker.sock"
    site = Proxied("atelier-test-squid", folder, "172.26.0.0/17", "none", url, atelier_image_prefix="atelier")
    try:
        site.role().succeeded()
        yield site
    finally:
        site.remove()
        made.remove()


def _remove_network(engine: docker.DockerClient) -> None:
    for network in engine.networks.list(names=[NETWORK]):
        with suppress(NotFound, APIError):
            network.remove()


@pytest.fixture(autouse=True)
def fresh(squid: Proxied) -> None:
    """Each test starts with the base entries only, on a running Squid."""
    if squid.live.entries != BASE or not squid.live.is_running():
        squid.set(domains=[], state="exact").succeeded()


def test_domains_are_added_removed_and_replaced(squid: Proxied) -> None:
    run = squid.set(domains=["API.Anthropic.com", "github.com", "anthropic.com."]).succeeded()
    assert run.changed
    assert run.result["whitelist"] == sorted([*BASE, ".anthropic.com", ".github.com"])
    assert run.result["raw"] == squid.live.section
    assert squid.live.is_running()
    assert not squid.set(domains=["x.github.com"]).succeeded().changed

    run = squid.set(domains=["github.com"], state="absent").succeeded()
    assert run.changed
    assert run.result["whitelist"] == sorted([*BASE, ".anthropic.com"])
    assert not squid.set(domains=["github.com"], state="absent").succeeded().changed

    run = squid.set(domains=["python.org"], state="exact").succeeded()
    assert run.result["whitelist"] == sorted([*BASE, ".python.org"])
    assert not squid.set(domains=["python.org"], state="exact").succeeded().changed
    assert squid.live.entries == tuple(run.result["whitelist"])
    shown = squid.play("whitelist_show").succeeded()
    assert not shown.changed
    assert shown.result["whitelist"] == run.result["whitelist"]


def test_check_mode_and_diff(squid: Proxied) -> None:
    before = squid.live
    run = squid.set("--check", "--diff", domains=["python.org"]).succeeded()
    assert run.changed
    assert run.result["whitelist"] == sorted([*BASE, ".python.org"])
    assert set(run.result["diff"]["after"].splitlines()) - set(run.result["diff"]["before"].splitlines()) == {
        ".python.org"
    }
    assert squid.live == before
    assert before.is_running()
    again = squid.set("--diff", domains=["python.org"]).succeeded()
    assert again.result["diff"] == run.result["diff"]
    assert not squid.set("--check", domains=["python.org"]).succeeded().changed


def test_bad_domains_are_refused_and_named(squid: Proxied) -> None:
    before = squid.live
    orders = [["python.org", "com"], ["x.org\nhttp_access allow all"], ["1.2.3.4"], ["*.x.org"], ['"/etc/passwd"']]
    for order in orders:
        result = squid.set(domains=order, state="exact").failed("VALIDATION_ERROR", f"domains[{len(order) - 1}]")
        assert result["details"]["value"] == order[-1]
    squid.set(domains=["debian.org"], state="absent").failed("VALIDATION_ERROR", "domains")
    squid.set(domains=["x.org"], group="no/group").failed("VALIDATION_ERROR", "group")
    assert squid.live == before


def test_a_groups_list(squid: Proxied) -> None:
    before = squid.live
    run = squid.set(domains=["api.openai.com", "openai.com"], group="spring school").succeeded()
    assert (run.changed, run.result["whitelist"], run.result["raw"]) == (True, [".openai.com"], ".openai.com\n")
    assert not squid.set(domains=["openai.com"], group="spring school").succeeded().changed
    assert squid.set("--check", domains=[], state="exact", group="spring school").succeeded().changed
    assert squid.play("whitelist_show", whitelist_group="spring school").result["whitelist"] == [".openai.com"]
    assert squid.live == before
    assert squid.set(domains=["openai.com"], state="absent", group="spring school").succeeded().changed
    assert json.loads((squid.state / "squid" / "groups.json").read_text()) == {}


def test_five_thousand_domains(squid: Proxied) -> None:
    run = squid.set(domains=DOMAINS, state="exact").succeeded()
    assert len(run.result["whitelist"]) == len(squid.live.entries) == 5000 + len(BASE)
    assert squid.live.is_running()
    assert not squid.set(domains=DOMAINS, state="exact").succeeded().changed


def test_what_squid_refuses_never_goes_live(squid: Proxied) -> None:
    frame = squid.state / "squid" / "squid.conf.frame"
    good, before = frame.read_text(), squid.live
    try:
        frame.write_text(good + "no_such_directive on\n")
        result = squid.set(domains=["python.org"]).failed("SQUID_ERROR")
        assert "no_such_directive" in result["msg"]
        assert squid.live == before
        assert before.is_running()
        assert "squid.conf.candidate" not in squid.files()
    finally:
        frame.write_text(good)
    assert squid.set(domains=["python.org"]).succeeded().changed


def test_what_squid_cannot_run_is_rolled_back(squid: Proxied) -> None:
    """It reads well, but Squid can't listen there: only the attempt shows that."""
    frame = squid.state / "squid" / "squid.conf.frame"
    good = frame.read_text()
    squid.set(domains=["kept.example"], state="exact").succeeded()
    before = squid.live
    try:
        frame.write_text(good.replace(f"http_port {PROXY}:", "http_port 192.0.2.1:"))
        # Its former configuration has as long to run again.
        result = squid.play("whitelist_set", whitelist_domains=["python.org"], atelier_ready_timeout=20).failed(
            "SQUID_ERROR"
        )
        assert "previous configuration again" in result["msg"]
        assert squid.live == before
        assert before.is_running()
    finally:
        frame.write_text(good)
    assert not squid.set(domains=["kept.example"], state="exact").succeeded().changed


def test_without_squid_it_says_so(squid: Proxied) -> None:
    before = squid.live
    squid.squid.stop()
    try:
        assert not squid.set(domains=[], state="exact").succeeded().changed
        squid.set(domains=["python.org"]).failed("SERVICE_UNAVAILABLE")
        assert squid.live == before
    finally:
        squid.squid.start()
    eventually(before.is_running, "Squid runs again")


def test_an_installation_without_squid_says_so(squid: Proxied) -> None:
    result = squid.play("whitelist_set", whitelist_domains=["x.org"], atelier_state_dir=str(squid.folder / "none"))
    result.failed("SERVICE_UNAVAILABLE", "site.state_dir")


def test_two_at_once_both_take_effect(squid: Proxied) -> None:
    runs = [squid.begin(domains=[f"site{number}.example"]) for number in range(3)]
    for run in runs:
        run.wait().succeeded()
    assert {f".site{number}.example" for number in range(3)} <= set(squid.live.entries)
    assert squid.live.is_running()


def test_killed_at_any_moment(squid: Proxied) -> None:
    """kill -9 of Ansible: the live file always is one that Squid reads, and the next run finishes the work."""
    dice, met = random.Random(11), 0  # noqa: S311 - moments, not secrets
    for kill in range(6):
        wanted = [*DOMAINS[kill:], f"kill{kill}.example"]
        begun = squid.apply_begun()
        started = squid.begin(domains=wanted, state="exact")
        later = dice.uniform(0, 0.1 * kill)
        ran = kill_when(started, lambda begun=begun, later=later: begun() and time.sleep(later) is None)  # type: ignore[misc]
        assert squid.squid_reads()
        met += ran and not (f".kill{kill}.example" in squid.live.entries and squid.live.is_running())
    assert met, "no kill met an apply that was not done"
    run = squid.set(domains=wanted, state="exact").succeeded()
    assert squid.live.is_running()
    assert len(run.result["whitelist"]) == len(wanted) + len(BASE)
    assert not squid.set(domains=wanted, state="exact").succeeded().changed
    assert not [name for name in squid.files() if name.startswith(".") or name.endswith("candidate")]


def test_squid_killed_during_an_apply(squid: Proxied) -> None:
    dice = random.Random(12)  # noqa: S311 - moments, not secrets
    for kill in range(4):
        wanted = [*DOMAINS, f"kill{kill}.example"]
        begun = squid.apply_begun()
        started = squid.begin(domains=wanted, state="exact")
        eventually(begun, "the apply has begun")
        time.sleep(dice.uniform(0, 0.6))
        squid.kill_squid()
        started.wait().succeeded()
        # The kill may have come after the apply's last look.
        eventually(squid.live.is_running, "Squid runs the new list")
        assert f".kill{kill}.example" in squid.live.entries


def test_a_change_that_squid_missed_is_made_up_for(squid: Proxied) -> None:
    """A kill between the swap and the reconfiguration leaves that state."""
    squid.set(domains=["first.example"], state="exact").succeeded()
    frame = (squid.state / "squid" / "squid.conf.frame").read_text()
    swapped = Configuration.composed(frame, sorted([*BASE, ".second.example"]))
    (squid.state / "squid" / "squid.conf").write_text(swapped.text)
    assert not squid.live.is_running()
    assert squid.set(domains=["second.example"], state="exact").succeeded().changed
    assert squid.live.is_running()
    assert not squid.set(domains=["second.example"], state="exact").succeeded().changed


def test_the_role_changes_nothing_the_second_time(squid: Proxied) -> None:
    run = squid.role().succeeded()
    assert [entry for entry in run.results if entry["result"].get("changed")] == []


def test_from_the_host_squid_tells_its_configuration_and_nothing_else(squid: Proxied) -> None:
    connection = http.client.HTTPConnection(PROXY, 3128, timeout=10)
    connection.request("GET", "http://www.debian.org/")
    assert connection.getresponse().status == 403
    connection.close()
