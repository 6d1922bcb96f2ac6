"""Validation of user input. Each function returns the value or raises an error naming the field, the fault and the
remedy."""

from __future__ import annotations

import re
from collections.abc import Collection

from .egress_modes import PROXIED_MODES
from .errors import AtelierError, Code, invalid
from .messages import Message
from .models import CPU_COUNTS, MEMORY_SIZES, MIB, Limits, ProxyMode, Quotas
from .plain_text import on_one_line

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
    return check_form(name, NAME_LENGTH, _NAME, "input.name", field, Code.INVALID_PROJECT_NAME)


def check_title(name: str, field: str = "name") -> str:
    """A clone's or renamed workspace's name, which may hold spaces inside: 1-100. Raises INVALID_PROJECT_NAME."""
    return check_form(name, TITLE_LENGTH, _TITLE, "input.title", field, Code.INVALID_PROJECT_NAME)


def check_form(
    text: str, length: tuple[int, int], form: re.Pattern[str], id: str, field: str, code: Code = Code.VALIDATION_ERROR
) -> str:
    """The text if it has the length and the form. Otherwise raises the code with the message ``id``, which quotes a
    little more than the longest valid text."""
    low, high = length
    if not low <= len(text) <= high or not form.fullmatch(text):
        value = text[: high + 10]
        raise AtelierError(code, Message(id, field=field, value=value, low=low, high=high), field=field, value=value)
    return text


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def check_id(workspace_id: str) -> str:
    if not is_id(workspace_id):
        raise invalid("input.id", "id", value=workspace_id[:40])
    return workspace_id


def is_template(text: str) -> bool:
    """Whether it can be the name of a template, which is also the tag of its image."""
    return _TEMPLATE.fullmatch(text) is not None


def check_template(template: str) -> str:
    """A name that a template can have; TemplateImages knows which ones exist. Raises INVALID_PROJECT_TYPE."""
    if not is_template(template):
        told = Message("input.template_name", value=template[:60])
        raise AtelierError(Code.INVALID_PROJECT_TYPE, told, field="template", value=template[:60])
    return template


def check_limits(memory: str, cpus: str, quotas: Quotas) -> Limits:
    """Memory and CPU within the contract's steps and the site's ceilings. Raises VALIDATION_ERROR."""
    if memory not in MEMORY_SIZES:
        raise invalid("input.size", "memory", value=memory[:20], known=", ".join(MEMORY_SIZES))
    if cpus not in CPU_COUNTS:
        raise invalid("input.size", "cpus", value=cpus[:20], known=", ".join(CPU_COUNTS))
    limits = Limits(memory, cpus)
    if quotas.enable_resource_limits:
        if limits.memory_bytes > quotas.memory_per_workspace_mb * MIB:
            most = quotas.memory_per_workspace_mb
            raise invalid("memory_above_quota", "memory", memory=memory, most=most, value=memory)
        if float(cpus) > quotas.cpu_per_workspace:
            raise invalid("cpus_above_quota", "cpus", cpus=cpus, most=quotas.cpu_per_workspace, value=cpus)
    return limits


def check_password(password: str, field: str = "password") -> str:
    """Checks for 8-50 characters without control characters. The error never contains the password."""
    low, high = PASSWORD_LENGTH
    if not low <= len(password) <= high:
        told = Message("input.password_length", field=field, count=len(password), low=low, high=high)
        raise AtelierError(Code.INVALID_PASSWORD, told, field=field)
    if _CONTROL.search(password):
        raise AtelierError(Code.INVALID_PASSWORD, Message("input.password_control", field=field), field=field)
    return password


def check_group(group: str) -> str:
    return check_form(group, GROUP_LENGTH, _GROUP, "input.group", "group")


def check_notes(notes: str) -> str:
    size = len(notes.encode())
    if size > NOTES_BYTES:
        raise invalid("input.notes", "notes", size=size, most=NOTES_BYTES)
    return notes


def check_extension(minutes: int) -> int:
    return check_range(minutes, EXTENSION_MINUTES, "minutes", "input.minutes")


def check_person(name: str) -> str:
    """A participant's name, with single spaces: 1-100 printable characters, and the joiners that some scripts need."""
    low, high = PERSON_LENGTH
    words = on_one_line(name)
    seen = _JOINERS.sub("", words)
    if not seen or not low <= len(words) <= high:
        fault = Message("input.person_length", count=len(words)) if seen else Message("input.person_empty")
    elif not seen.isprintable():
        hidden = next(character for character in seen if not character.isprintable())
        fault = Message("input.person_hidden", character=f"U+{ord(hidden):04X}")
    else:
        return words
    raise AtelierError(
        Code.VALIDATION_ERROR, fault, field="name", remedy=Message("input.person_use", low=low, high=high)
    )


def check_email(email: str) -> str:
    """A participant's e-mail address, as it was typed but for spaces around it."""
    address = email.strip()
    if len(address) > EMAIL_LENGTH or not _EMAIL.fullmatch(address):
        raise invalid("input.email", "email", most=EMAIL_LENGTH)
    return address


def check_count(count: int) -> int:
    return check_range(count, CLONE_COUNT, "count", "input.count")


def check_proxy_mode(mode: str, available: Collection[ProxyMode]) -> ProxyMode:
    """A mode that the site has a network for. Raises VALIDATION_ERROR."""
    if mode not in available:
        modes, proxied = ", ".join(sorted(available)), ", ".join(PROXIED_MODES)
        raise invalid("no_such_mode", "proxy_mode", mode=mode, modes=modes, proxied=proxied, value=str(mode))
    return ProxyMode(mode)


def check_range(value: int, bounds: tuple[int, int], field: str, id: str = "input.range") -> int:
    """The number within both bounds. Otherwise raises VALIDATION_ERROR with the message ``id``."""
    low, high = bounds
    if not low <= value <= high:
        raise invalid(id, field, value=value, low=low, high=high)
    return value
