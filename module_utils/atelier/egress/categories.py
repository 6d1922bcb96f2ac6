"""Categories of recorded domains by organisation label, the one before the public suffix.

The list is data (``domain_categories.yml``) that a site can extend; the public suffixes come with the package
publicsuffixlist, so no network access is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..common.errors import AtelierError, invalid
from .domain_names import public_suffixes

OTHER = "Other"
_OWN = Path(__file__).with_name("domain_categories.yml")


class Categories:
    """``labels`` and ``hosts`` map to category names; a host's rule also covers its subdomains and precedes its
    organisation's."""

    def __init__(self, order: Iterable[str], labels: Mapping[str, str], hosts: Mapping[str, str]) -> None:
        self.order = tuple(order)
        self._labels = labels
        self._hosts = hosts

    def of(self, domain: str) -> str:
        name = domain.lower().rstrip(".")
        parts = name.split(".")
        for start in range(len(parts)):
            if (rule := self._hosts.get(".".join(parts[start:]))) is not None:
                return rule
        return self._labels.get(organisation(name) or "", OTHER)

    def group(self, domains: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """The domains, each with its ``domain``, by category, the most used first; empty categories are left out."""
        grouped: dict[str, list[dict[str, Any]]] = {name: [] for name in (*self.order, OTHER)}
        for domain, entry in domains.items():
            grouped.setdefault(self.of(domain), []).append({"domain": domain, **entry})
        for entries in grouped.values():
            entries.sort(key=lambda entry: (-entry["count"], entry["domain"]))
        return {name: entries for name, entries in grouped.items() if entries}


def organisation(domain: str) -> str | None:
    """``github`` for api.github.com and for github.co.uk; None for an address or a bare public suffix."""
    if ":" in domain or domain.replace(".", "").isdigit():
        return None
    # Private suffixes (github.io) are left out: their owner is the organisation.
    owned = public_suffixes().privatesuffix(domain)
    return str(owned).partition(".")[0] if owned else None


def read_categories(extension: Mapping[str, Any] | None = None) -> Categories:
    """Atelier's list of categories with the site's ``extension`` applied: ``labels`` and ``hosts`` by category.
    Raises VALIDATION_ERROR for an invalid extension."""
    order: list[str] = []
    labels: dict[str, str] = {}
    hosts: dict[str, str] = {}
    for source in (yaml.safe_load(_OWN.read_text(encoding="utf-8")), extension or {}):
        if not isinstance(source, Mapping):
            raise _no_extension("it")
        for category, rules in source.items():
            if not isinstance(rules, Mapping) or set(rules) - {"labels", "hosts"}:
                raise _no_extension(category)
            if category not in order and category != OTHER:
                order.append(category)
            for known, kind in ((labels, "labels"), (hosts, "hosts")):
                names = rules.get(kind) or []
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise _no_extension(category)
                known.update({name.lower().strip("."): category for name in names})
    return Categories(order, labels, hosts)


def _no_extension(category: object) -> AtelierError:
    return invalid("settings.categories", "domain_categories", category=str(category)[:60])
