"""docs/runbook.md as HTML, with the anchors that findings name."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

FILE = Path(__file__).parents[2] / "docs" / "runbook.md"


def anchor(heading: str) -> str:
    """A heading's anchor, as code hosting sites make it."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


@cache
def runbook() -> str:
    """The runbook without links, because their targets are not here, and with HTML escaped."""
    markdown = MarkdownIt("commonmark", {"html": False})
    tokens = markdown.parse(FILE.read_text(encoding="utf-8"))
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(content.content))
        if content.children:
            content.children = [part for part in content.children if not part.type.startswith("link_")]
    return str(markdown.renderer.render(tokens, markdown.options, {}))
