"""What git in a seat said, as the manifest of a workshop's end has it."""

from __future__ import annotations

import pytest
from atelier.seat_git import Saved, saved_from

COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize(
    ("code", "output", "saved"),
    [
        (
            0,
            f"\natelier: committed yes\n\natelier: commit {COMMIT}\n\natelier: pushed yes\n",
            Saved(commit=COMMIT, committed=True, pushed=True),
        ),
        (
            0,
            f"\natelier: branch main\n\natelier: commit {COMMIT}\n\natelier: note It has no branch.\n",
            Saved(branch="main", commit=COMMIT, note="It has no branch."),
        ),
        # A message of several lines, and noise before it.
        (
            0,
            f"noise\natelier: commit {COMMIT}\n\natelier: note It could not be pushed: no\n ! [rejected]\n",
            Saved(commit=COMMIT, note="It could not be pushed: no ! [rejected]"),
        ),
        (1, "cd: /workspace: No such file", Saved(note="Nothing was committed: cd: /workspace: No such file")),
        (0, "", Saved()),
        # The seat's user may write into the script's output.
        (0, f"atelier: branch {'b' * 10**6}\natelier: commit {'c' * 10**6}\n", Saved(branch="b" * 250 + "[...]")),
        (0, "atelier: branch a\x1b[2J\natelier: commit --force\n", Saved(branch="a\ufffd[2J")),
    ],
)
def test_the_scripts_words(code: int, output: str, saved: Saved) -> None:
    assert saved_from(code, output) == saved
