"""Checks of what people typed. Each returns the value or raises an error naming the field, the fault and the remedy."""

from __future__ import annotations

import re
from collections.abc import Collection

from .egress_modes import PROXIED_MODES
from .errors import AtelierError, Code
from .messages import Message
from .models import CPU_COUNTS, MEMORY_SIZES, Limits, ProxyMode, Quotas

# The contract's numbers.
NAME_LENGTH = (3, 50)
TITLE_LENGTH = (1, 100)
PASSWORD_LENGTH = (8, 50)
GROUP_LENGTH = (1, 50)
CLONE_COUNT = (1, 50)
NOTES_BYTES = 10_240
EXTENSION_MINUTES = (1, 10_080)  # a week
PERSON_LENGTH = (1, 100)
EMAIL_LENGTH = 254  # RFC 5321's longest path, without its brackets

_ID = re.compile(r"[0-9a-f]{12}")
_TEMPLATE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TITLE = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9 _-]*[A-Za-z0-9_-])?")
_GROUP = re.compile(r"[A-Za-z0-9 _-]+")
# Zero width, but part of how Persian, Hindi and other names are written.
_JOINERS = re.compile("[\u200c\u200d]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# The WHATWG's pattern of a valid address, which browsers hold <input type=email> to, with at least one dot.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


def check_name(name: str, field: str = "name") -> str:
    """A new workspace's name: 3-50 letters, digits, ``-`` or ``_``. Raises INVALID_PROJECT_NAME."""
    low, high = NAME_LENGTH
    if not low <= len(name) <= high or not _NAME.fullmatch(name):
        raise AtelierError(
            Code.INVALID_PROJECT_NAME,
            f"The {field} {name[:60]!r} is not a workspace name.",
            field=field,
            value=name[:60],
            remedy=f"Use {low} to {high} letters, digits, hyphens or underscores.",
        )
    return name


def check_title(name: str, field: str = "name") -> str:
    """A clone's or renamed workspace's name, which may hold spaces inside: 1-100. Raises INVALID_PROJECT_NAME."""
    low, high = TITLE_LENGTH
    if not low <= len(name) <= high or not _TITLE.fullmatch(name):
        raise AtelierError(
            Code.INVALID_PROJECT_NAME,
            f"The {field} {name[:110]!r} is not a workspace name.",
            field=field,
            value=name[:110],
            remedy=f"Use {low} to {high} letters, digits, spaces inside, hyphens or underscores.",
        )
    return name


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def check_id(workspace_id: str) -> str:
    if not is_id(workspace_id):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"Invalid workspace id {workspace_id[:40]!r}.",
            field="id",
            value=workspace_id[:40],
            remedy="An id is 12 lower-case hexadecimal characters.",
        )
    return workspace_id


def is_template(text: str) -> bool:
    """Whether it can be the name of a template, which is also the tag of its image."""
    return _TEMPLATE.fullmatch(text) is not None


def check_template(template: str) -> str:
    """A name that a template can have; TemplateImages knows which ones exist. Raises INVALID_PROJECT_TYPE."""
    if not is_template(template):
        raise AtelierError(
            Code.INVALID_PROJECT_TYPE,
            f"Invalid template name {template[:60]!r}.",
            field="template",
            value=template[:60],
            remedy="Use the name of a template, such as empty.",
        )
    return template


def check_limits(memory: str, cpus: str, quotas: Quotas) -> Limits:
    """Memory and CPU within the contract's steps and the site's ceilings. Raises VALIDATION_ERROR."""
    if memory not in MEMORY_SIZES:
        raise _not_one_of("memory", memory, MEMORY_SIZES)
    if cpus not in CPU_COUNTS:
        raise _not_one_of("cpus", cpus, CPU_COUNTS)
    limits = Limits(memory, cpus)
    if quotas.enable_resource_limits:
        if limits.memory_bytes > quotas.memory_per_workspace_mb * 1024**2:
            raise AtelierError(
                Code.VALIDATION_ERROR,
                Message("memory_above_quota", memory=memory, most=quotas.memory_per_workspace_mb),
                field="memory",
                value=memory,
            )
        if float(cpus) > quotas.cpu_per_workspace:
            raise AtelierError(
                Code.VALIDATION_ERROR,
                Message("cpus_above_quota", cpus=cpus, most=quotas.cpu_per_workspace),
                field="cpus",
                value=cpus,
            )
    return limits


def check_password(password: str, field: str = "password") -> str:
    """8-50 characters, none of them a control character. The error never holds the password itself."""
    low, high = PASSWORD_LENGTH
    if not low <= len(password) <= high:
        raise AtelierError(
            Code.INVALID_PASSWORD,
            f"The {field} has {len(password)} characters.",
            field=field,
            remedy=f"Use {low} to {high}.",
        )
    if _CONTROL.search(password):
        raise AtelierError(
            Code.INVALID_PASSWORD,
            f"The {field} holds a control character, which no login form can send.",
            field=field,
            remedy="Use letters, digits, signs and spaces.",
        )
    return password


def check_group(group: str) -> str:
    low, high = GROUP_LENGTH
    if not low <= len(group) <= high or not _GROUP.fullmatch(group):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The group {group[:60]!r} is not a group name.",
            field="group",
            value=group[:60],
            remedy=f"Use {low} to {high} letters, digits, spaces, hyphens or underscores.",
        )
    return group


def check_notes(notes: str) -> str:
    size = len(notes.encode())
    if size > NOTES_BYTES:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The notes take {size} bytes.",
            field="notes",
            remedy=f"Keep them within {NOTES_BYTES} bytes (10 KB).",
        )
    return notes


def check_extension(minutes: int) -> int:
    low, high = EXTENSION_MINUTES
    if not low <= minutes <= high:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The minutes {minutes} are out of range.",
            field="minutes",
            value=minutes,
            remedy=f"Ask for {low} to {high}, which is a week; extend again later.",
        )
    return minutes


def check_person(name: str) -> str:
    """A participant's name, with single spaces: 1-100 printable characters, and the joiners that some scripts need."""
    low, high = PERSON_LENGTH
    words = " ".join(name.split())
    seen = _JOINERS.sub("", words)
    if not seen or not low <= len(words) <= high:
        fault = f"The name has {len(words)} characters." if seen else "The name is empty."
    elif not seen.isprintable():
        hidden = next(character for character in seen if not character.isprintable())
        fault = f"The name holds a character that can't be shown, U+{ord(hidden):04X}."
    else:
        return words
    raise AtelierError(
        Code.VALIDATION_ERROR, fault, field="name", remedy=f"Use {low} to {high} letters, spaces and signs."
    )


def check_email(email: str) -> str:
    """A participant's e-mail address, as it was typed but for spaces around it."""
    address = email.strip()
    if len(address) > EMAIL_LENGTH or not _EMAIL.fullmatch(address):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            "The email is not an e-mail address.",
            field="email",
            remedy=f"Use one such as max@example.com, of at most {EMAIL_LENGTH} characters.",
        )
    return address


def check_count(count: int) -> int:
    low, high = CLONE_COUNT
    if not low <= count <= high:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The count {count} is out of range.",
            field="count",
            value=count,
            remedy=f"Ask for {low} to {high} clones; for more, clone again.",
        )
    return count


def check_proxy_mode(mode: ProxyMode, available: Collection[ProxyMode]) -> ProxyMode:
    """A mode that the site has a network for. Raises VALIDATION_ERROR."""
    if mode not in available:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            Message("no_such_mode", mode=mode, modes=", ".join(sorted(available)), proxied=", ".join(PROXIED_MODES)),
            field="proxy_mode",
            value=str(mode),
        )
    return mode


def _not_one_of(field: str, value: str, known: Collection[str]) -> AtelierError:
    return AtelierError(
        Code.VALIDATION_ERROR,
        f"The {field} {value[:20]!r} is not an available size.",
        field=field,
        value=value[:20],
        remedy=f"Use one of: {', '.join(known)}.",
    )
