"""Forgejo's JSON: the same keys with the same types. Source: its swagger, definitions Repository, Branch and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..repositories.git import Branch
from ..settings import Settings
from ..store import Row

_NEVER = "0001-01-01T00:00:00Z"


def _all(value: object, keys: str) -> dict[str, Any]:
    """Forgejo's keys for what this service does not have."""
    return dict.fromkeys(keys.split(), value)


def user(row: Row, settings: Settings) -> dict[str, Any]:
    return {
        "id": row["id"],
        "login": row["name"],
        "email": row["email"],
        "html_url": f"{settings.base_url}/{row['name']}",
        "is_admin": bool(row["is_admin"]),
        "created": row["created_at"],
        "restricted": bool(row["restricted"]),
        "active": True,
        "visibility": "private",
        "username": row["name"],
        **_all("", "login_name full_name avatar_url language location pronouns website description"),
        **_all(0, "source_id followers_count following_count starred_repos_count"),
        "last_login": _NEVER,
        "prohibit_login": False,
    }


def repository(row: Row, owner: Row, permission: str | None, settings: Settings) -> dict[str, Any]:
    full_name = f"{row['owner_name']}/{row['name']}"
    web = f"{settings.base_url}/{full_name}"
    return {
        "id": row["id"],
        "owner": user(owner, settings),
        "name": row["name"],
        "full_name": full_name,
        "description": row["description"],
        "empty": bool(row["empty"]),
        "private": bool(row["private"]),
        "size": row["size"],
        "languages_url": f"{settings.base_url}/api/v1/repos/{full_name}/languages",
        "html_url": web,
        "url": f"{settings.base_url}/api/v1/repos/{full_name}",
        "clone_url": f"{web}.git",
        "default_branch": row["default_branch"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "permissions": {"admin": permission == "owner", "push": permission in ("owner", "write"), "pull": True},
        "default_merge_style": "merge",
        "object_format_name": "sha1",
        **_all(
            False,
            "fork template mirror archived has_issues has_wiki has_pull_requests has_projects has_releases "
            "has_packages has_actions ignore_whitespace_conflicts allow_merge_commits allow_rebase "
            "allow_rebase_explicit allow_squash_merge allow_fast_forward_only_merge allow_rebase_update "
            "default_delete_branch_after_merge default_allow_maintainer_edit internal",
        ),
        **_all("", "language link ssh_url original_url website avatar_url mirror_interval"),
        **_all(0, "stars_count forks_count watchers_count open_issues_count open_pr_counter release_counter"),
        "archived_at": _NEVER,
        "mirror_updated": _NEVER,
        "topics": [],
    }


def branch(found: Branch, *, rule: str | None, may_push: bool) -> dict[str, Any]:
    """Without the commit's content, which its author controls, at any length."""
    person = {"name": "", "email": "", "username": ""}
    return {
        "name": found.name,
        "commit": {
            "id": found.commit,
            "message": "",
            "url": "",
            "author": person,
            "committer": person,
            "timestamp": _NEVER,
            **_all(None, "verification added removed modified"),
        },
        "protected": rule is not None,
        "user_can_push": may_push,
        "user_can_merge": may_push,
        "effective_branch_protection_name": rule or "",
        "required_approvals": 0,
        "enable_status_check": False,
        "status_check_contexts": [],
    }


def branch_protection(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "branch_name": rule["pattern"],
        "rule_name": rule["pattern"],
        "enable_push": bool(rule["enable_push"]),
        "enable_push_whitelist": bool(rule["enable_whitelist"]),
        "push_whitelist_usernames": list(rule["users"].values()),
        "created_at": rule["created_at"],
        "updated_at": rule["updated_at"],
        **_all(
            [],
            "push_whitelist_teams merge_whitelist_usernames merge_whitelist_teams status_check_contexts "
            "approvals_whitelist_username approvals_whitelist_teams",
        ),
        **_all(
            False,
            "push_whitelist_deploy_keys enable_merge_whitelist enable_status_check enable_approvals_whitelist "
            "block_on_rejected_reviews block_on_official_review_requests block_on_outdated_branch "
            "dismiss_stale_approvals ignore_stale_approvals require_signed_commits apply_to_admins",
        ),
        "required_approvals": 0,
        **_all("", "protected_file_patterns unprotected_file_patterns"),
    }


def tag_protection(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": rule["id"],
        "name_pattern": rule["pattern"],
        "whitelist_usernames": list(rule["users"].values()),
        "created_at": rule["created_at"],
        "updated_at": rule["updated_at"],
        "whitelist_teams": [],
    }


def token(row: Row, sha1: str = "") -> dict[str, Any]:
    """``sha1`` is the token itself, returned only when it is created."""
    return {
        "id": row["id"],
        "name": row["name"],
        "sha1": sha1,
        "token_last_eight": row["last_eight"],
        "scopes": row["scopes"].split(),
    }
