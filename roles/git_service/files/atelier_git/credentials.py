"""The two administrators: the owner of the repositories, whom people sign in as, and the account Atelier works as."""

from __future__ import annotations

import secrets

from .accounts import hash_secret, new_token, new_user
from .store import Store


def renew(store: Store, owner: str, service: str) -> dict[str, dict[str, str]]:
    """Gives both accounts new passwords, and the service account a new token; revokes the old ones, and the rights of
    any other administrator, such as a previous owner.

    ``owner`` and ``service`` are the accounts' names. Returns the credentials of each, by ``admin`` and ``service``.
    """
    passwords = {name: secrets.token_urlsafe(36) for name in (owner, service)}
    with store.change():
        ids = {name: _administrator(store, name, password) for name, password in passwords.items()}
        for other in store.all("SELECT id FROM users WHERE is_admin AND id NOT IN (?, ?)", ids[owner], ids[service]):
            store.run("UPDATE users SET is_admin = 0, password_hash = '' WHERE id = ?", other["id"])
            store.run("DELETE FROM tokens WHERE user_id = ?", other["id"])
        # Rules that are older than the service account: Atelier may push wherever the owner may.
        store.run(
            "INSERT OR IGNORE INTO whitelisted SELECT w.protection_id, ? FROM whitelisted w"
            " JOIN protections p ON p.id = w.protection_id WHERE p.kind = 'branch' AND w.user_id = ?",
            ids[service],
            ids[owner],
        )
        _, token = new_token(store, ids[service], "atelier", ["all"])
    return {
        "admin": {"user": owner, "password": passwords[owner]},
        "service": {"user": service, "password": passwords[service], "token": token},
    }


def _administrator(store: Store, name: str, password: str) -> int:
    """The account's number, made if it is missing."""
    user = store.user(name)
    if user is None:
        return new_user(store, name, f"{name}@owner.invalid", password, is_admin=True)
    sql = "UPDATE users SET password_hash = ?, is_admin = 1, restricted = 0 WHERE id = ?"
    store.run(sql, hash_secret(password), user["id"])
    store.run("DELETE FROM tokens WHERE user_id = ?", user["id"])
    return int(user["id"])
