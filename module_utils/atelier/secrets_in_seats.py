"""Where secrets are known to lie in a workspace, and what a snapshot gets in their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_HOME = "/home/coder"
# Up to the last @ of the host part: a password may hold one.
_URL_CREDENTIALS = re.compile(rb"(?<=://)[^/\s]+@")
_HTTP_EXTRA_HEADER = re.compile(rb"(?im)^([^\S\n]*extraheader[^\S\n]*=).*$")


def blank(content: bytes) -> bytes:
    return b""


def empty_json(content: bytes) -> bytes:
    return b"{}\n"


def without_git_credentials(content: bytes) -> bytes:
    """A git configuration whose addresses and extra headers carry no user, password or token."""
    return _HTTP_EXTRA_HEADER.sub(rb"\1", _URL_CREDENTIALS.sub(b"", content))


def _below_home(replacement: Callable[[bytes], bytes], *names: str) -> dict[str, Callable[[bytes], bytes]]:
    return {f"{_HOME}/{name}": replacement for name in names}


# Files and folders (then every file in them) by path, with what makes their content safe to hand out.
KNOWN_PLACES: Mapping[str, Callable[[bytes], bytes]] = {
    **_below_home(blank, ".bash_history", ".zsh_history", ".ash_history", ".python_history", ".node_repl_history"),
    **_below_home(blank, ".psql_history", ".mysql_history", ".sqlite_history", ".rediscli_history", ".lesshst"),
    **_below_home(blank, ".git-credentials", ".config/git/credentials", ".netrc", ".npmrc", ".yarnrc", ".pypirc"),
    **_below_home(blank, ".config/code-server/config.yaml", ".config/pip/pip.conf", ".m2/settings-security.xml"),
    **_below_home(
        blank, ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".config/gcloud", ".config/gh", ".config/glab-cli"
    ),
    **_below_home(empty_json, ".docker/config.json", ".claude/.credentials.json", ".codex/auth.json"),
    **_below_home(empty_json, ".local/share/opencode/auth.json", ".config/github-copilot/apps.json"),
    **_below_home(without_git_credentials, ".gitconfig", ".config/git/config"),
    "/workspace/.git/config": without_git_credentials,
}
