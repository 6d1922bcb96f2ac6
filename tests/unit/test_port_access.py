"""Access to a workspace's ports: the gateway's map, sharing, and the passes that HAProxy checks."""

from __future__ import annotations

import base64
import hmac
import time
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.gateway.aliases import Alias, put_alias
from atelier.gateway.port_access import (
    GUARDED,
    OPEN,
    SHARED,
    port_pass,
    port_routes,
    share_port,
    shared_ports,
    unshare_ports,
)
from support import open_store, order, row


def test_the_map_tells_passwords_shares_and_guarded_ports(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        locked, plain = store.reserve([order("a", password_hash="$argon2id$x"), order("b")])
        assert share_port(store, plain.id, 3000) and not share_port(store, plain.id, 3000)
        put_alias(store, Alias("demo", plain.id, 4000, None, None))
        put_alias(store, Alias("safe", locked.id, 5000, "guest", "$argon2id$y"))
        routes = port_routes(store)
        key = routes.pop(locked.id)
        assert len(base64.b64decode(key)) == 32
        assert routes == {plain.id: OPEN, f"{plain.id}-3000": SHARED, f"{locked.id}-5000": GUARDED}
        # A share would pass by the alias's password, and a password ends the share.
        with pytest.raises(AtelierError) as refused:
            share_port(store, locked.id, 5000)
        assert refused.value.code is Code.PORT_GUARDED
        put_alias(store, Alias("secret", plain.id, 3000, "guest", "$argon2id$z"))
        assert shared_ports(store, plain.id) == set()
        assert share_port(store, plain.id, 1) and share_port(store, plain.id, 2)
        assert unshare_ports(store, plain.id, [1]) and shared_ports(store, plain.id) == {2}
        assert unshare_ports(store, plain.id) and not unshare_ports(store, plain.id)
        # Another password is another key; a workspace that is gone has no entry.
        store.update(locked.id, password_hash="$argon2id$other")
        assert port_routes(store)[locked.id] != key
        share_port(store, plain.id, 1)
        store.delete(plain.id)
        assert [name for name in port_routes(store) if name.startswith(plain.id)] == []
        with pytest.raises(AtelierError) as gone:
            share_port(store, plain.id, 1)
        assert gone.value.code is Code.PROJECT_NOT_FOUND


def test_a_pass_is_for_one_port_and_one_password(tmp_path: Path) -> None:
    workspace = row(password_hash="$argon2id$x")
    assert port_pass(row(), 3000) is None
    proof = port_pass(workspace, 3000)
    assert proof is not None
    end, _, signature = proof.partition(".")
    assert 0 < int(end) - time.time() <= 12 * 3600
    with open_store(tmp_path) as store:
        store.import_row(workspace)
        key = base64.b64decode(port_routes(store)[workspace.id])
    # What HAProxy computes.
    assert signature == hmac.digest(key, f"{workspace.id}-3000.{end}".encode(), "sha256").hex()
    others = (
        port_pass(workspace, 3001),
        port_pass(workspace._replace(password_hash="$argon2id$y"), 3000),
        port_pass(workspace._replace(sessions="after a release"), 3000),
    )
    assert signature not in [other.partition(".")[2] for other in others if other]
