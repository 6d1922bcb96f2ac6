"""git's output in a seat, as recorded in the manifest of a workshop's end."""

from __future__ import annotations

import pytest
from atelier.common.messages import Message, chain, id_of
from atelier.containers.save_work import Saved, saved_from

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
            f"\natelier: branch main\n\natelier: commit {COMMIT}\n\natelier: note no_branch \n",
            Saved(branch="main", commit=COMMIT, note=Message("no_branch")),
        ),
        # Noise before it, words that the script does not have, and two notes.
        (
            0,
            f"noise\natelier: commit {COMMIT}\natelier: note sentences x\natelier: note midway_merge \n\n"
            "atelier: note not_pushed no ! [rejected]\n",
            Saved(
                commit=COMMIT,
                note=Message(
                    "sentences", first=Message("midway_merge"), then=Message("not_pushed", said="no ! [rejected]")
                ),
            ),
        ),
        (1, "cd: /workspace: No such file", Saved(note=Message("not_committed", said="cd: /workspace: No such file"))),
        (0, "", Saved()),
        # The seat's user may write into the script's output.
        (0, f"atelier: branch {'b' * 10**6}\natelier: commit {'c' * 10**6}\n", Saved(branch="b" * 250 + "[...]")),
        (
            0,
            "atelier: note no_commit \n" * 10**5,
            Saved(note=chain("sentences", [Message("no_commit")] * 4)),
        ),
        (0, "atelier: branch a\x1b[2J\natelier: commit --force\n", Saved(branch="a\ufffd[2J")),
    ],
)
def test_the_scripts_words(code: int, output: str, saved: Saved) -> None:
    found = saved_from(code, output)
    assert found == saved
    assert id_of(found.note) == id_of(saved.note)
