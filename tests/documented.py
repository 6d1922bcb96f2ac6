"""The OpenAPI document as a judge: an answer has the keys that it documents, and no other ones.

The document itself leaves objects open, since clients must expect more keys of later versions. Here each object is
closed whose keys it names.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

_ERROR = {"$ref": "#/components/schemas/Error"}
# What is served beside the document's operations and is no error: the document itself.
_ITSELF = "/api/openapi.json"


class Documented:
    """Holds answers against a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = _closed(document["components"])
        self._paths = [
            (re.compile(re.sub(r"\{[^}]*\}", "[^/]+", re.escape(path).replace(r"\{", "{").replace(r"\}", "}"))), path)
            # An address that stands there as it is comes before one that has a parameter in that place.
            for path in sorted(document["paths"], key=lambda path: path.count("{"))
        ]
        self._operations = document["paths"]

    def check(self, method: str, path: str, status: int, media_type: str, body: bytes) -> None:
        """Raises AssertionError with operation, status, place and key for an answer that is not as documented."""
        kind = media_type.partition(";")[0].strip()
        # The list of projects is also served without its slash.
        template = self._template(path) or self._template(f"{path}/")
        operation = self._operations.get(template, {}).get(method.lower())
        where = f"{method} {template or path} answered {status}"
        if operation is None:
            if kind == "application/json" and not path.startswith((_ITSELF, "/pages/")) and method != "HEAD":
                assert status >= 400, f"{where}, and the document has no such operation"
                self._hold(where, _ERROR, body)
            return
        if kind == "text/html" and status >= 400:
            return  # a page for people, who looked at an address that is meant for programs
        documented = operation["responses"].get(str(status))
        assert documented is not None, f"{where}, which is not documented: {body[:500].decode(errors='replace')}"
        kinds = documented.get("content", {})
        if body or kinds:
            assert kind in kinds, f"{where} as {kind!r}; documented is {', '.join(kinds) or 'no body'}"
        if kind == "application/json":
            self._hold(where, kinds[kind]["schema"], body)

    def _template(self, path: str) -> str | None:
        return next((template for pattern, template in self._paths if pattern.fullmatch(path)), None)

    def _hold(self, where: str, schema: dict[str, Any], body: bytes) -> None:
        found = Draft202012Validator({**schema, "components": self._components}).iter_errors(json.loads(body))
        faults = []
        for fault in found:
            deepest = best_match([fault])
            faults.append(f"{deepest.json_path.removeprefix('$').lstrip('.') or 'the answer'}: {deepest.message[:300]}")
        assert not faults, f"{where}, not as documented: " + "; ".join(faults[:20])


def _closed(schema: Any) -> Any:
    """The schema with every object closed whose keys it names. An object that has free keys, such as an error's
    ``details``, names none."""
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if isinstance(closed.get("properties"), dict) else closed
