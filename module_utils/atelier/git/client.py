"""The git server's repositories, branches and permissions, over Forgejo's HTTP API v1.

All repositories belong to one owner; Atelier has a separate account. A seat is a user, ``seat-<public name>``, that may
push one branch: protections name who may push, and a rule for everything else (``**``) names the owner and Atelier
alone. Both servers refuse to delete or force-push protected branches.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.models import GitServer, Site
from ..common.validation import check_id
from .http import Credentials, ForgeApi, part, read_credentials
from .names import MAIN, candidates, check_branch, check_repository_name
from .urls import GitAccess

# Maximum seconds per response: a busy Forgejo takes ten.
TIMEOUT = 20.0
_EVERYTHING = "**"
_ALL_TAGS = "*"
_DESCRIPTION_LENGTH = 2048  # Forgejo's
_NEVER = "0001-01-01T00:00:00Z"  # as Forgejo writes it


@dataclass(frozen=True)
class Repository:
    """``size`` in KiB, times as the server writes them (RFC 3339), addresses as people use them."""

    name: str
    full_name: str
    description: str
    private: bool
    default_branch: str
    empty: bool
    web_url: str
    clone_url: str
    created_at: str
    updated_at: str
    size: int


def seat_user(seat: str) -> str:
    return f"seat-{check_id(seat)}"


def seats_of(site: Site, workspace_id: str) -> tuple[str, ...]:
    """The workspace's user names on the git server, which other seats may see: its public name and, from older
    versions, its id."""
    return site.public_name(workspace_id), workspace_id


def require_git(site: Site) -> GitServer:
    """The site's git server. Raises SERVICE_UNAVAILABLE on an installation without one."""
    if site.git is None:
        raise AtelierError(Code.SERVICE_UNAVAILABLE, Message("git.not_installed"), field="site.git")
    return site.git


def open_forge(site: Site, timeout: float = TIMEOUT) -> Forge:
    """The site's git server, to be asked as its service account. Raises SERVICE_UNAVAILABLE without one, or without its
    credentials. Nothing is sent yet."""
    git = require_git(site)
    return Forge(git, read_credentials(git), timeout)


class Forge:
    """Thread-safe: each call uses a separate connection."""

    def __init__(self, git: GitServer, credentials: Credentials, timeout: float = TIMEOUT) -> None:
        self._git = git
        self._owner = git.owner
        # Accounts that can push everywhere; creating a branch over the API counts as a push.
        self._keepers = list(dict.fromkeys((git.owner, credentials.user)))
        self._api = ForgeApi(git, credentials, timeout)

    def check_credentials(self) -> None:
        """Raises SERVICE_UNAVAILABLE when the server does not take Atelier's token, or not its password."""
        for basic in (False, True):
            self._api.request("GET", "/user", accept=(200,), basic=basic)

    def version(self) -> str:
        """Such as ``9.0.3+gitea-1.22.0``; the embedded service's ends in ``+atelier``."""
        answer = self._api.request("GET", "/version", accept=(200,))
        with _understood("version"):
            return str(answer.json["version"])

    # --- Repositories ---------------------------------------------------------------------------------------------

    def repository(self, name: str) -> Repository | None:
        answer = self._api.request("GET", self._path(name), accept=(200, 404))
        return self._repository(answer.json) if answer.status == 200 else None

    def repositories(self) -> list[Repository]:
        """All of the owner's, by name."""
        found = [self._repository(raw) for raw in self._api.pages(f"/users/{part(self._owner)}/repos")]
        return sorted(found, key=lambda repository: repository.name.lower())

    def create_repository(
        self,
        name: str,
        *,
        description: str = "",
        private: bool = False,
        default_branch: str = MAIN,
        suffix: bool = False,
    ) -> Repository:
        """A new, empty repository that no seat may push to. ``suffix``: with ``-2``, ``-3``, ... if it is taken.

        Raises VALIDATION_ERROR for a name or description that Forgejo would not take, REPOSITORY_EXISTS when it is
        taken, SERVICE_UNAVAILABLE or GIT_REPO_CREATE_FAILED when the server does not make it.
        """
        check_repository_name(name)
        check_branch(default_branch, "default_branch")
        check_description(description)
        settings = {"description": description, "private": private, "default_branch": default_branch}
        try:
            repository = self._make(list(candidates(name)) if suffix else [name], settings)
            self.protect(repository.name)
        except AtelierError as error:
            if error.code is not Code.GIT_ERROR:
                raise
            raise AtelierError(Code.GIT_REPO_CREATE_FAILED, error.message, field="name", value=name) from error
        return repository

    def _make(self, names: Sequence[str], settings: Mapping[str, Any]) -> Repository:
        """Under the first of the names that is free."""
        for name in names:
            body = {"name": name, "auto_init": False, **settings}
            answer = self._api.request("POST", f"/admin/users/{part(self._owner)}/repos", body, accept=(201, 409))
            if answer.status == 201:
                return self._repository(answer.json)
        raise taken(names[0])

    def update_repository(self, name: str, changes: Mapping[str, Any]) -> Repository:
        """Changes its ``description``, ``private`` or ``default_branch``, which the caller has checked."""
        changed = self._repository(self._api.request("PATCH", self._path(name), changes, accept=(200,)).json)
        if changed.default_branch != changes.get("default_branch", changed.default_branch):
            raise no_default_branch(name, changes["default_branch"])  # Forgejo says nothing of it
        return changed

    def delete_repository(self, name: str) -> bool:
        """Whether there was one."""
        return self._api.request("DELETE", self._path(name), accept=(204, 404)).status == 204

    # --- Branches -------------------------------------------------------------------------------------------------

    def branches(self, name: str) -> dict[str, str]:
        """The commit of each branch, sorted by name; empty if nobody has pushed to the repository."""
        raws = self._api.pages(f"{self._path(name)}/branches")
        with _understood("branch"):
            return dict(sorted((str(raw["name"]), str(raw["commit"]["id"])) for raw in raws))

    def ensure_branch(self, name: str, branch: str, source: str = MAIN) -> bool:
        """Makes the branch where ``source`` is now. Returns whether it was missing; one that is there stays as it is.

        Raises GIT_ERROR when there is no source, as in a repository that nobody has pushed to, or when something else
        has the name's place: a tag, or ``a`` when the branch is to be ``a/b``.
        """
        check_branch(branch)
        body = {"new_branch_name": branch, "old_ref_name": source}
        answer = self._api.request("POST", f"{self._path(name)}/branches", body, accept=(201, 404, 409))
        if answer.status == 404:
            fault = Message("git.branch_without_source", branch=branch, name=name, source=source)
        # Asked for the one: a list of all is as long as others make it.
        elif answer.status == 409 and not self._api.exists(f"{self._path(name)}/branches/{part(branch)}"):
            fault = Message("git.branch_refused", branch=branch, name=name, said=answer.message)
        else:
            return answer.status == 201
        raise AtelierError(Code.GIT_ERROR, fault, field="branch", value=branch)

    # --- Who may push ---------------------------------------------------------------------------------------------

    def protect(self, name: str) -> None:
        """Forbids seats to push tags, and branches without a specific rule. Can be repeated."""
        path = self._path(name)
        self._allow(path, _EVERYTHING, self._keepers)
        present = self._api.request("GET", f"{path}/tag_protections", accept=(200,)).json
        if not any(rule.get("name_pattern") == _ALL_TAGS for rule in present or ()):
            body = {"name_pattern": _ALL_TAGS, "whitelist_usernames": [self._owner]}
            self._api.request("POST", f"{path}/tag_protections", body, accept=(201, 403, 409))

    def grant_seat(self, name: str, seat: str, branch: str) -> GitAccess:
        """Lets one workspace push one branch of one repository and read there; returns its user and a new token, and
        any older one ends.

        Safe to do again, after a crash too. On Forgejo a seat can read all branches of the repository; the embedded
        service shows it the default one and its own.
        """
        check_branch(branch)
        user, path = seat_user(seat), self._path(name)
        is_new = self._ensure_user(user)
        self._api.request("PUT", f"{path}/collaborators/{user}", {"permission": "write"}, accept=(204,))
        if not self._api.exists(f"{path}/branch_protections/{part(_EVERYTHING)}"):
            self.protect(name)  # who made the repository was killed before that
        # Do this last, because Forgejo omits users without write access from a rule.
        self._allow(path, branch, [*self._keepers, user])
        tokens = f"/users/{user}/tokens"
        old = [] if is_new else self._api.request("GET", f"{tokens}?limit=50", accept=(200,), basic=True).json
        body = {"name": f"seat-{secrets.token_hex(4)}", "scopes": ["write:repository"]}
        answer = self._api.request("POST", tokens, body, accept=(201,), basic=True)
        for token in old:
            self._api.request("DELETE", f"{tokens}/{int(token['id'])}", accept=(204, 404), basic=True)
        return GitAccess(user, str(answer.json["sha1"]))

    def revoke_seat(self, *seats: str) -> bool:
        """Removes all rights of a workspace; returns whether it had any. Pushed work stays."""
        paths = [f"/admin/users/{seat_user(seat)}?purge=true" for seat in seats]
        return 204 in [self._api.request("DELETE", path, accept=(204, 404)).status for path in paths]

    def _ensure_user(self, user: str) -> bool:
        """Creates the user if it does not exist; returns whether it is new. Its password is random and not kept."""
        body = {
            "username": user,
            "email": f"{user}@seats.invalid",
            "password": secrets.token_urlsafe(32),
            "must_change_password": False,
            "restricted": True,
            "visibility": "private",
            "send_notify": False,
        }
        answer = self._api.request("POST", "/admin/users", body, accept=(201, 422))
        if answer.status == 201:
            return True
        # 422 means that it exists, or another validation error.
        if not self._api.exists(f"/users/{user}"):
            raise AtelierError(Code.GIT_ERROR, Message("git.user_refused", user=user, said=answer.message))
        return False

    def _allow(self, path: str, rule: str, users: list[str]) -> None:
        """Makes the rule for a branch, or the one for all others, name exactly these users."""
        body: dict[str, Any] = {
            "enable_push": True,
            "enable_push_whitelist": True,
            "push_whitelist_usernames": users,
            "push_whitelist_deploy_keys": False,
        }
        protections = f"{path}/branch_protections"
        answer = self._api.request("POST", protections, {"rule_name": rule, **body}, accept=(201, 403, 409))
        if answer.status != 201:  # it is there already
            self._api.request("PATCH", f"{protections}/{part(rule)}", body, accept=(200,))

    # --- In between -----------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"/repos/{part(self._owner)}/{part(check_repository_name(name, 'repository'))}"

    def _repository(self, raw: Any) -> Repository:
        with _understood("repository"):
            name = raw["name"]
            if not isinstance(name, str):
                raise TypeError(Message("git.name_no_text"))
            # For a damaged repository the server omits fields.
            return Repository(
                name=name,
                full_name=raw.get("full_name") or f"{self._owner}/{name}",
                description=raw.get("description") or "",
                private=bool(raw.get("private")),
                default_branch=raw.get("default_branch") or MAIN,
                empty=bool(raw.get("empty")),
                web_url=self._git.web_url(name),
                clone_url=self._git.clone_url(name),
                created_at=raw.get("created_at") or _NEVER,
                updated_at=raw.get("updated_at") or _NEVER,
                size=int(raw.get("size") or 0),
            )


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Raises GIT_ERROR if the part of the server's response that the block reads is malformed."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = Message("git.not_understood", what=what, kind=type(error).__name__, why=error)
        raise AtelierError(Code.GIT_ERROR, fault) from error


def check_description(description: str) -> None:
    """Raises VALIDATION_ERROR for one that is too long for Forgejo."""
    if len(description) > _DESCRIPTION_LENGTH:
        raise invalid("input.too_long", "description", count=len(description), most=_DESCRIPTION_LENGTH)


def no_default_branch(name: str, branch: str) -> AtelierError:
    return invalid("git.no_default_branch", "default_branch", name=name, branch=branch, value=branch)


def taken(name: str) -> AtelierError:
    return AtelierError(Code.REPOSITORY_EXISTS, Message("git.repository_exists", name=name), field="name", value=name)
