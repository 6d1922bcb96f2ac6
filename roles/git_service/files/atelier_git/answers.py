"""Forgejo's JSON: the same keys with the same types. Source: its swagger, definitions Repository, Branch and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .git import Branch
from .settings import Settings
from .store import Row

_NEVER = "0001-01-01T00:00:00Z"
_NO_ACCESS = {"admin": False, "push": False, "pull": False}
_ACCESS = {"owner": {"admin": True, "push": True, "pull": True}, "write": {**_NO_ACCESS, "push": True, "pull": True}}
_READ = {**_NO_ACCESS, "pull": True}


def user(row: Row, settings: Settings) -> dict[str, Any]:
    return {
        "id": row["id"],
        "login": row["name"],
        "login_name": "",
        "source_id": 0,
        "full_name": "",
        "email": row["email"],
        "avatar_url": "",
        "html_url": f"{settings.base_url}/{row['name']}",
        "language": "",
        "is_admin": bool(row["is_admin"]),
        "last_login": _NEVER,
        "created": row["created_at"],
        "restricted": bool(row["restricted"]),
        "active": True,
        "prohibit_login": False,
        "location": "",
        "pronouns": "",
        "website": "",
        "description": "",
        "visibility": "private",
        "followers_count": 0,
        "following_count": 0,
        "starred_repos_count": 0,
        "username": row["name"],
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
        "fork": False,
        "template": False,
        "mirror": False,
        "size": row["size"],
        "language": "",
        "languages_url": f"{settings.base_url}/api/v1/repos/{full_name}/languages",
        "html_url": web,
        "url": f"{settings.base_url}/api/v1/repos/{full_name}",
        "link": "",
        "ssh_url": "",
        "clone_url": f"{web}.git",
        "original_url": "",
        "website": "",
        "stars_count": 0,
        "forks_count": 0,
        "watchers_count": 0,
        "open_issues_count": 0,
        "open_pr_counter": 0,
        "release_counter": 0,
        "default_branch": row["default_branch"],
        "archived": False,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "archived_at": _NEVER,
        "permissions": _ACCESS.get(permission or "", _READ),
        "has_issues": False,
        "has_wiki": False,
        "has_pull_requests": False,
        "has_projects": False,
        "has_releases": False,
        "has_packages": False,
        "has_actions": False,
        "ignore_whitespace_conflicts": False,
        "allow_merge_commits": False,
        "allow_rebase": False,
        "allow_rebase_explicit": False,
        "allow_squash_merge": False,
        "allow_fast_forward_only_merge": False,
        "allow_rebase_update": False,
        "default_delete_branch_after_merge": False,
        "default_merge_style": "merge",
        "default_allow_maintainer_edit": False,
        "avatar_url": "",
        "internal": False,
        "mirror_interval": "",
        "object_format_name": "sha1",
        "mirror_updated": _NEVER,
        "topics": [],
    }


def branch(found: Branch, *, rule: str | None, may_push: bool) -> dict[str, Any]:
    """Without what stands in its commit: that is its author's word, of any length."""
    person = {"name": "", "email": "", "username": ""}
    return {
        "name": found.name,
        "commit": {
            "id": found.commit,
            "message": "",
            "url": "",
            "author": person,
            "committer": person,
            "verification": None,
            "timestamp": _NEVER,
            "added": None,
            "removed": None,
            "modified": None,
        },
        "protected": rule is not None,
        "required_approvals": 0,
        "enable_status_check": False,
        "status_check_contexts": [],
        "user_can_push": may_push,
        "user_can_merge": may_push,
        "effective_branch_protection_name": rule or "",
    }


def branch_protection(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "branch_name": rule["pattern"],
        "rule_name": rule["pattern"],
        "enable_push": bool(rule["enable_push"]),
        "enable_push_whitelist": bool(rule["enable_whitelist"]),
        "push_whitelist_usernames": list(rule["users"].values()),
        "push_whitelist_teams": [],
        "push_whitelist_deploy_keys": False,
        "enable_merge_whitelist": False,
        "merge_whitelist_usernames": [],
        "merge_whitelist_teams": [],
        "enable_status_check": False,
        "status_check_contexts": [],
        "required_approvals": 0,
        "enable_approvals_whitelist": False,
        "approvals_whitelist_username": [],
        "approvals_whitelist_teams": [],
        "block_on_rejected_reviews": False,
        "block_on_official_review_requests": False,
        "block_on_outdated_branch": False,
        "dismiss_stale_approvals": False,
        "ignore_stale_approvals": False,
        "require_signed_commits": False,
        "protected_file_patterns": "",
        "unprotected_file_patterns": "",
        "apply_to_admins": False,
        "created_at": rule["created_at"],
        "updated_at": rule["updated_at"],
    }


def tag_protection(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": rule["id"],
        "name_pattern": rule["pattern"],
        "whitelist_usernames": list(rule["users"].values()),
        "whitelist_teams": [],
        "created_at": rule["created_at"],
        "updated_at": rule["updated_at"],
    }


def token(row: Row, sha1: str = "") -> dict[str, Any]:
    """``sha1`` is the token itself, told once, when it is made."""
    return {
        "id": row["id"],
        "name": row["name"],
        "sha1": sha1,
        "token_last_eight": row["last_eight"],
        "scopes": row["scopes"].split(),
    }
