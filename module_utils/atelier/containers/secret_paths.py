"""Well-known locations of secrets in a workspace, and their replacements in a snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

HOME = "/home/coder"
# Up to the last @ of the host part: a password may hold one.
_URL_CREDENTIALS = re.compile(rb"(?<=://)[^/\s]+@")
_VARIABLE = re.compile(rb"(?m)^[^\S\n]*(?:export[^\S\n]+)?[A-Za-z_][A-Za-z0-9_]*=")
_GLOBAL_STORAGE = ".local/share/code-server/User/globalStorage"
_SECRET_SETTING = re.compile(rb"(?im)^([^\S\n]*(?:extraheader|[a-z]*token|[a-z]*pass|[a-z]*password)[^\S\n]*=).*$")


def blank(content: bytes) -> bytes:
    return b""


def empty_json(content: bytes) -> bytes:
    return b"{}\n"


def without_git_credentials(content: bytes) -> bytes:
    """A git configuration whose addresses, headers and settings carry no user, password or token."""
    return _SECRET_SETTING.sub(rb"\1", _URL_CREDENTIALS.sub(b"", content))


def names_only(content: bytes) -> bytes:
    """Removes the values of environment variables; a program needs the names to know what is missing."""
    return b"".join(match[0] + b"\n" for match in _VARIABLE.finditer(content))


def is_tracked(index: bytes, place: str) -> bool:
    """Whether git's index (gitformat-index(5), version 2 or 3) holds that file at the top of the repository."""
    name = PurePosixPath(place).name.encode()
    return index.startswith(b"DIRC") and len(name).to_bytes(2, "big") + name + b"\0" in index


def _below_home(replacement: Callable[[bytes], bytes], *names: str) -> dict[str, Callable[[bytes], bytes]]:
    return {f"{HOME}/{name}": replacement for name in names}


# Committed ones are part of the exercise: a clone has git's objects, and so their content.
VARIABLES = tuple(f"/workspace/{name}" for name in (".env", ".env.local", ".env.production", ".envrc"))
INDEX = "/workspace/.git/index"

# Files and folders (then every file in them) by path, with what makes their content safe to hand out. Each costs a
# request to Docker while the source is paused. None is inside another.
KNOWN_PLACES: Mapping[str, Callable[[bytes], bytes]] = {
    # Histories of shells and clients, where commands with passwords are.
    **_below_home(blank, ".bash_history", ".zsh_history", ".ash_history", ".python_history", ".node_repl_history"),
    **_below_home(blank, ".psql_history", ".mysql_history", ".sqlite_history", ".rediscli_history", ".lesshst"),
    **_below_home(blank, ".local/share/fish/fish_history", ".mongodb/mongosh", ".viminfo", ".irb_history"),
    # Git and package managers.
    **_below_home(blank, ".git-credentials", ".config/git/credentials", ".netrc", ".npmrc", ".yarnrc", ".pypirc"),
    **_below_home(blank, ".yarnrc.yml", ".config/pip/pip.conf", ".pip/pip.conf", ".config/pypoetry/auth.toml"),
    **_below_home(blank, ".m2/settings.xml", ".m2/settings-security.xml", ".gradle/gradle.properties"),
    **_below_home(blank, ".cargo/credentials.toml", ".cargo/credentials", ".gem/credentials", ".bundle/config"),
    **_below_home(empty_json, ".config/composer/auth.json", ".composer/auth.json"),
    **_below_home(without_git_credentials, ".gitconfig", ".config/git/config"),
    # Keys, clouds, containers, databases.
    **_below_home(blank, ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".config/gcloud", ".oci", ".boto", ".s3cfg"),
    **_below_home(blank, ".config/gh", ".config/glab-cli", ".config/hub", ".config/doctl", ".config/hcloud", ".fly"),
    **_below_home(blank, ".config/rclone", ".terraformrc", ".terraform.d/credentials.tfrc.json", ".vault-token"),
    **_below_home(blank, ".pulumi/credentials.json", ".password-store", ".local/share/keyrings", ".databrickscfg"),
    **_below_home(blank, ".pgpass", ".my.cnf", ".mylogin.cnf", ".curlrc", ".wgetrc"),
    **_below_home(empty_json, ".docker/config.json", ".config/containers/auth.json", ".kaggle/kaggle.json"),
    # Credentials of assistants.
    **_below_home(blank, ".gemini", ".cache/huggingface/token", ".config/openai"),
    **_below_home(empty_json, ".claude.json", ".claude/.credentials.json", ".codex/auth.json"),
    **_below_home(empty_json, ".local/share/opencode/auth.json"),
    **_below_home(empty_json, ".config/github-copilot/apps.json", ".config/github-copilot/hosts.json"),
    # The IDE, and the tokens of its extensions.
    **_below_home(blank, ".config/code-server/config.yaml"),
    **_below_home(blank, f"{_GLOBAL_STORAGE}/state.vscdb", f"{_GLOBAL_STORAGE}/state.vscdb.backup"),
    "/workspace/.git/config": without_git_credentials,
    # A pull from an address is written there as it was typed.
    "/workspace/.git/logs": without_git_credentials,
    **dict.fromkeys(VARIABLES, names_only),
}
# Git's settings of each submodule are called so, below this folder, which holds all that was fetched, too.
SUBMODULES, SUBMODULE_FILE = "/workspace/.git/modules", "config"
# Links in known locations are followed only to here; other places are not the participant's.
_LINKED = (PurePosixPath(HOME), PurePosixPath("/workspace"))


def is_users(path: PurePosixPath) -> bool:
    """Whether the path is below one of the user's own folders."""
    return any(folder in path.parents for folder in _LINKED)


def may_hold_secrets(path: PurePosixPath) -> bool:
    """Whether a link in a known place may lead there. Folders around known places hold work, not secrets."""
    return is_users(path) and not any(path in PurePosixPath(place).parents for place in KNOWN_PLACES)
