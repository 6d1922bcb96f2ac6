"""Recognises LLM calls and their format by host and path, from a list that sites can extend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..formats import FORMATS


@dataclass(frozen=True)
class Provider:
    """``host`` and ``path`` are shell patterns, ``api`` one of FORMATS. For any host, the body must look so, too."""

    api: str
    host: str
    path: str

    @property
    def any_host(self) -> bool:
        return self.host == "*"


def parse_providers(raw: Iterable[Mapping[str, str]]) -> tuple[Provider, ...]:
    """Raises ValueError for an entry that names no known API."""
    providers = tuple(Provider(entry["api"], entry.get("host", "*").lower(), entry["path"]) for entry in raw)
    if unknown := {provider.api for provider in providers} - FORMATS.keys():
        raise ValueError(f"providers name no API that is known here: {', '.join(sorted(unknown))}")
    return providers


def find_provider(providers: Iterable[Provider], host: str, path: str) -> Provider | None:
    """The first that matches. ``path`` may have a query, which is left out of the comparison."""
    bare = path.partition("?")[0].rstrip("/")
    for provider in providers:
        if fnmatchcase(host.lower().rstrip("."), provider.host) and fnmatchcase(bare, provider.path):
            return provider
    return None
