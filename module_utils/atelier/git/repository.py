"""A repository's desired state, its differences from the present one, and the changes to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..common.errors import AtelierError, Code, invalid
from .client import Forge, Repository, check_description, no_default_branch, taken
from .names import MAIN, candidates, check_branch, check_repository_name

_PROPERTIES = ("description", "private", "default_branch")


class IfTaken(StrEnum):
    """The action if the name is in use: take that repository, take another name, or fail."""

    USE = "use"
    SUFFIX = "suffix"
    FAIL = "fail"


@dataclass(frozen=True)
class RepositorySpec:
    """The desired repository. None keeps a property or its default. ``branches`` are those that must exist."""

    name: str
    present: bool = True
    description: str | None = None
    private: bool | None = None
    default_branch: str | None = None
    branches: tuple[str, ...] = ()
    if_taken: IfTaken = IfTaken.USE


@dataclass(frozen=True)
class RepositoryChange:
    """``before`` and ``after`` are for a diff; ``repository`` is None if it does not exist (any more)."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    repository: Repository | None


@dataclass(frozen=True)
class Listed:
    """A repository with its branches' names, sorted; ``problem`` is the reason if a damaged one has none."""

    repository: Repository
    branches: tuple[str, ...] = ()
    problem: str | None = None


def with_branches(forge: Forge, repository: Repository) -> Listed | None:
    """The list entry of a repository; a damaged one raises no error. None if it was deleted meanwhile. Raises
    SERVICE_UNAVAILABLE if the server does not answer."""
    if repository.empty:
        return Listed(repository)
    try:
        return Listed(repository, tuple(forge.branches(repository.name)))
    except AtelierError as error:
        if error.code is not Code.GIT_ERROR:
            raise
        problem = error.message
    try:
        is_gone = forge.repository(repository.name) is None
    except AtelierError as error:
        if error.code is not Code.GIT_ERROR:
            raise
        is_gone = False
    return None if is_gone else Listed(repository, problem=problem)


def apply_repository(forge: Forge, desired: RepositorySpec, *, check_mode: bool) -> RepositoryChange:
    """Brings the repository to the desired state, or returns the change.

    Raises VALIDATION_ERROR for a bad name, branch or description, or if there is no branch to create others from;
    REPOSITORY_EXISTS if it exists and must not; GIT_ERROR if a branch cannot be created; SERVICE_UNAVAILABLE if the
    server does not answer.
    """
    check_repository(desired)
    found = forge.repository(desired.name)
    if not desired.present:
        return _remove(forge, desired.name, found, check_mode)
    if found is not None and desired.if_taken is IfTaken.FAIL:
        raise taken(desired.name)
    if found is None or desired.if_taken is IfTaken.SUFFIX:
        return _create(forge, desired, found, check_mode)
    return _change(forge, desired, found, check_mode)


def check_repository(desired: RepositorySpec) -> None:
    """Everything that can be refused before the server is asked."""
    check_repository_name(desired.name)
    if desired.description is not None:
        check_description(desired.description)
    if desired.default_branch is not None:
        check_branch(desired.default_branch, "default_branch")
    for number, branch in enumerate(desired.branches):
        check_branch(branch, f"branches[{number}]")


def _create(forge: Forge, desired: RepositorySpec, found: Repository | None, check_mode: bool) -> RepositoryChange:
    settings: dict[str, Any] = {
        "description": desired.description or "",
        "private": bool(desired.private),
        "default_branch": desired.default_branch or MAIN,
    }
    if desired.branches:
        raise invalid("git.new_without_branches", "branches", name=desired.name)
    if check_mode:
        name = next(name for name in candidates(desired.name) if found is None or forge.repository(name) is None)
        return RepositoryChange(True, {}, {"name": name, **settings, "branches": []}, None)
    made = forge.create_repository(desired.name, suffix=desired.if_taken is IfTaken.SUFFIX, **settings)
    return RepositoryChange(True, {}, {"name": made.name, **settings, "branches": []}, made)


def _change(forge: Forge, desired: RepositorySpec, found: Repository, check_mode: bool) -> RepositoryChange:
    present = list(forge.branches(found.name))
    named = {name: value for name in _PROPERTIES if (value := getattr(desired, name)) is not None}
    changes = {name: value for name, value in named.items() if value != getattr(found, name)}
    missing = [branch for branch in dict.fromkeys(desired.branches) if branch not in present]
    if missing and found.default_branch not in present:
        raise invalid("git.nothing_to_branch_from", "branches", name=found.name, branch=found.default_branch)
    # An empty one takes any: nothing has been pushed that could be the other.
    default_branch = changes.get("default_branch")
    if default_branch is not None and present and default_branch not in (*present, *missing):
        raise no_default_branch(found.name, default_branch)
    before = _shown(found, present)
    after = {**before, **changes, "branches": sorted([*present, *missing])}
    if not check_mode:
        for branch in missing:
            forge.ensure_branch(found.name, branch, found.default_branch)
        if changes:
            found = forge.update_repository(found.name, changes)
    return RepositoryChange(bool(changes or missing), before, after, found)


def _remove(forge: Forge, name: str, found: Repository | None, check_mode: bool) -> RepositoryChange:
    if found is None:
        return RepositoryChange(False, {}, {}, None)
    before = _shown(found, list(forge.branches(name)))
    if not check_mode:
        forge.delete_repository(name)
    return RepositoryChange(True, before, {}, None)


def _shown(repository: Repository, branches: list[str]) -> dict[str, Any]:
    return {name: getattr(repository, name) for name in ("name", *_PROPERTIES)} | {"branches": branches}
