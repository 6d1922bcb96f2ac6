"""The Docker Engines of an installation's machines, each opened when it is first needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from ..common.errors import AtelierError
from ..common.messages import Message
from ..common.models import CONTROLLER, Node, Site
from ..database.placement import Machine, checked_labels
from ..engine.client import LONGEST_ANSWER_SECONDS, Engine
from ..engine.connections import ClientCertificate
from ..engine.departures import Departures
from ..engine.docker_errors import Place
from ..engine.models import SwarmNode
from .seat_http import DIRECT, SeatRoute

# Seconds after which a machine that says nothing does not answer.
_ANSWER_SECONDS = 5
# The label by which the role swarm_node names a machine of the swarm as the inventory does.
_NODE_LABEL = "atelier.node"
_STATE_SECONDS = 2.0


class Engines:
    """Thread-safe. One that did not answer is asked again by the next caller."""

    def __init__(self, site: Site, *, patience: int = LONGEST_ANSWER_SECONDS) -> None:
        self._site = site
        self._patience = patience
        self._opened: dict[str, Engine] = {}
        self._members: dict[str, SwarmNode] = {}
        self._asked_at = -_STATE_SECONDS
        self._departures = Departures(self._id_at)

    def of(self, node: str) -> Engine:
        """Raises SERVICE_UNAVAILABLE when the controller's engine does not answer, NODE_UNAVAILABLE when a node's does
        not, or when Docker Swarm says that the node is down or does not know it: one that hangs would keep its caller
        waiting."""
        if node in self.down():
            place = Place(_known(self._site, node).engine_url, node)
            member = self._recent_members().get(node)
            # It was removed from the swarm, or has left it by itself.
            if member is None or self._departures.has_left(node, member.id):
                raise place.unavailable(Message("docker.node_left", node=node))
            raise place.unreachable("down")
        return self._open(node)

    def _id_at(self, node: str) -> str:
        with closing(open_engine(self._site, node, patience=self._patience)) as engine:
            return engine.swarm_id()

    def _open(self, node: str) -> Engine:
        # Without a lock while connecting: a machine that does not answer must not block the others.
        engine = self._opened.get(node)
        return engine or self._opened.setdefault(node, open_engine(self._site, node, patience=self._patience))

    def down(self) -> set[str]:
        """The machines that are down or removed according to Docker Swarm, up to two seconds old. ``unknown``, the
        state of all machines after Swarm's own restart, does not count as down."""
        found = self._recent_members()
        removed = {node.name for node in self._site.nodes} - found.keys() if found else set()
        return removed | {name for name, node in found.items() if node.state == "down"}

    def _recent_members(self) -> dict[str, SwarmNode]:
        """Like ``swarm_nodes``, up to two seconds old."""
        if self._site.nodes and time.monotonic() > self._asked_at + _STATE_SECONDS:
            self._members = self.swarm_nodes()
            self._asked_at = time.monotonic()
        return self._members

    def close(self) -> None:
        for engine in self._opened.values():
            engine.close()

    def route(self, node: str) -> SeatRoute:
        """The route to the machine's seats. Raises NODE_UNAVAILABLE for one that is not in the inventory."""
        gateway = "" if node == CONTROLLER else _known(self._site, node).gateway
        if not gateway:
            return DIRECT
        host, _, port = gateway.rpartition(":")
        return SeatRoute(node, (host, int(port)), ClientCertificate.of(self._site.pki, "gateway-client").tls())

    def machines(self) -> list[Machine] | None:
        """The machines that are ready and active for new workspaces; None on a single machine."""
        if not self._site.nodes:
            return None
        return [
            Machine(name, self._promisable(found), _labels(found))
            for name, found in self.swarm_nodes().items()
            if (found.state, found.availability) == ("ready", "active")
            and (name != CONTROLLER or self._site.controller_seats)
        ]

    def memory(self) -> dict[str, int]:
        """The bytes of memory that each machine may promise to running workspaces, whether it takes new ones or not;
        none on a single machine."""
        return {name: self._promisable(found) for name, found in self._recent_members().items()}

    def _promisable(self, node: SwarmNode) -> int:
        return int(node.memory * self._site.memory_overcommit)

    def node_labels(self, wanted: Sequence[str], otherwise: str = "") -> str:
        """The labels for a row: those that its machine must have, or ``otherwise`` if none are wanted. Raises
        VALIDATION_ERROR if no machine has them, as on a single machine."""
        labels = wanted or otherwise.split(",")
        if not any(labels):
            return ""
        return checked_labels(labels, [_labels(node) for node in self.swarm_nodes().values()])

    def swarm_nodes(self) -> dict[str, SwarmNode]:
        """The installation's machines as Docker Swarm knows them, by name; none on a single machine. Raises
        SERVICE_UNAVAILABLE when the controller's engine does not answer."""
        found = self.swarm_members() if self._site.nodes else {}
        return {name: found[name] for name in self._site.node_names if name in found}

    def swarm_members(self) -> dict[str, SwarmNode]:
        """Like ``swarm_nodes``, including machines that are not in the inventory."""
        return {node.labels.get(_NODE_LABEL, ""): node for node in self._open(CONTROLLER).swarm_nodes()}


def _labels(node: SwarmNode) -> frozenset[str]:
    """The labels that the inventory gave the machine."""
    return frozenset(f"{name}={value}" for name, value in node.labels.items() if name != _NODE_LABEL)


def open_engine(site: Site, node: str, *, patience: int = LONGEST_ANSWER_SECONDS) -> Engine:
    """Opens a separate connection to a machine's engine. Raises the same errors as ``Engines.of``."""
    if node == CONTROLLER:
        return Engine(site.engine_url, patience=patience)
    found = _known(site, node)
    secured = found.engine_url.startswith("https:")
    certificate = ClientCertificate.of(site.pki, "engine-client") if secured else None
    return Engine(found.engine_url, patience=patience, node=node, certificate=certificate)


def answers(site: Site, node: str) -> bool:
    """Whether the machine's engine answers at this moment."""
    try:
        # Opening it asks for Docker's version.
        open_engine(site, node, patience=_ANSWER_SECONDS).close()
    except AtelierError:
        return False
    return True


def _known(site: Site, name: str) -> Node:
    node = site.node(name)
    if node is None:
        raise Place("", name).unavailable(Message("docker.node_unknown", node=name))
    return node
