"""Figures of the way out: how long a whitelist of 5,000 domains takes to hold, and a read of the log's end."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import docker
from atelier.egress.squid_log import recent

from .host import INSTANCE, play
from .report import Report

DOMAINS = 5000
GOAL_SECONDS = 2
GIB = 1024**3
LOG_GOAL_MILLISECONDS = 100
NETWORK, SUBNET = f"{INSTANCE}-security", "172.31.241.0/24"


def measure_egress(report: Report, variables: Path, rounds: int) -> None:
    """Adds the figures. Squid runs in the bench's installation, on its network for security, which is made if it is
    missing; the bench's ``clear`` removes both."""
    _log(report)
    api = docker.APIClient(version="auto", timeout=300)
    if not api.networks(names=[NETWORK]):
        pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=SUBNET)])
        labels = {"atelier.instance": INSTANCE}
        api.create_network(NETWORK, driver="bridge", internal=True, ipam=pool, labels=labels)
    subnet = api.inspect_network(NETWORK)["IPAM"]["Config"][0]["Subnet"]
    _run_squid(variables, subnet)
    empty, full = [], []
    for number in range(rounds):
        domains = [f"host{host}.organisation-{host % 997}.round{number}.example" for host in range(DOMAINS)]
        # A file: no command line takes as much.
        long = variables.with_name("long.json")
        long.write_text(json.dumps(json.loads(variables.read_text()) | {"whitelist_domains": domains}))
        play(variables, "whitelist_set", whitelist_domains=[], whitelist_state="exact")
        # The same playbook where it finds nothing to do: what starting it costs.
        empty.append(play(variables, "whitelist_set", whitelist_domains=[], whitelist_state="exact"))
        full.append(play(long, "whitelist_set", whitelist_state="exact"))
    start, took = statistics.median(empty), statistics.median(full)
    goal = start + GOAL_SECONDS
    formula = f"a playbook's start + {GOAL_SECONDS} s = {goal:.2f} s"
    what = f"whitelist of {DOMAINS} domains, until Squid has it"
    report.add(what, f"{took:.2f} s", f"{start:.2f} s", formula, took <= goal)


def _run_squid(variables: Path, subnet: str) -> None:
    """The role, run by a playbook that lies with the bench's variables."""
    playbook = variables.with_name("squid.yml")
    playbook.write_text(json.dumps([{"hosts": "localhost", "roles": [{"role": "squid"}]}]))
    play(variables, str(playbook.with_suffix("")), atelier_squid_subnet=subnet)


def _log(report: Report) -> None:
    line = "{:.3f} 42 172.30.{}.{} TCP_TUNNEL/200 5688 CONNECT host{}.example.org:443 - HIER_DIRECT/192.0.2.7 -\n"
    with tempfile.TemporaryDirectory() as folder:
        block = "".join(line.format(1733234567 + n / 10, n % 4, n % 250, n) for n in range(200_000)).encode()
        with (Path(folder) / "access.log").open("wb") as file:
            while file.tell() < GIB:
                file.write(block)
        taken = []
        for _ in range(5):
            begin = time.perf_counter()
            recent(Path(folder), "172.30.1.5", 50)
            taken.append((time.perf_counter() - begin) * 1000)
        absent_begin = time.perf_counter()
        recent(Path(folder), "172.30.9.9", 50)
        absent = (time.perf_counter() - absent_begin) * 1000
    own = statistics.median(taken)
    goal = LOG_GOAL_MILLISECONDS
    report.add(
        "squid-logs: last 50 lines of one seat in 1 GiB",
        f"{own:.1f} ms (of a seat that has none: {absent:.0f} ms)",
        "-",
        f"under {goal} ms",
        max(own, absent) < goal,
    )
