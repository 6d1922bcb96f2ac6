"""Docstrings, comments, documents, titles of tasks, messages and pages use none of the idioms that plain English
replaced. Docstrings begin with a verb or a noun, not in the middle of a sentence that the name would have to begin."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from api.web.i18n import words

ROOT = Path(__file__).parents[2]
IDIOMS = re.compile(
    r"\b(?:anew|whoever|for\s+ever|(?:comes?|came)\s+about|of\s+(?:its|their)\s+own(?!\s+files)"
    r"|stands?\s+in|(?:is|are|was|were|be|been)\s+told)\b",
    re.IGNORECASE,
)
FRAGMENT = re.compile(r"(?:What|Of|Who|Whose|Where|How|That|Those|Which|As|By|From|For|In)\b")
SUFFIXES = (".py", ".md", ".yml", ".sh", ".j2")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(text: str) -> Iterator[str]:
    return (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED))


def prose(file: Path, text: str) -> Iterator[str]:
    if file.suffix == ".py":
        yield from docstrings(text)
        with file.open("rb") as lines:
            yield from (token.string for token in tokenize.tokenize(lines.readline) if token.type == tokenize.COMMENT)
    else:
        yield from [text] if file.suffix == ".md" else re.findall(r"(?:^|\s)#\s.*|^\s*- name: .*", text, re.MULTILINE)


@cache
def all_texts() -> dict[Path, str]:
    """The program, and the files of all folders but hidden ones and ``out``, where tests leave their logs."""
    files = [*ROOT.glob("*.md"), *(file for file in ROOT.glob("[a-z]*/**/*.*") if ROOT / "out" not in file.parents)]
    named = [file for file in files if file.suffix in SUFFIXES and not file.is_symlink()]
    return {file: file.read_text() for file in [*named, ROOT / "atelier"]}


def test_docstrings_are_whole() -> None:
    texts = {file.relative_to(ROOT): text for file, text in all_texts().items() if file.suffix == ".py"}
    assert [(str(name), text) for name in texts for text in docstrings(texts[name]) if FRAGMENT.match(text)] == []


def test_no_idiom_comes_back() -> None:
    texts = all_texts()
    suspects = {file: text for file, text in texts.items() if IDIOMS.search(text)}
    parts = [(str(file.relative_to(ROOT)), part) for file, text in suspects.items() for part in prose(file, text)]
    parts += words("en").texts.items()  # of pages, and the core's messages
    assert [(name, found[0]) for name, part in parts for found in IDIOMS.finditer(part)] == []
