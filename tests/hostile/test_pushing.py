"""Harmful pushes of a seat to the git server: other seats' branches, lists and pushes are not affected."""

from __future__ import annotations

from .conftest import Platform, Seat, Seats

ENDLESS = r"""
import subprocess as s
def git(*words): return s.check_output(("git", "-C", "/workspace", *words), text=True).strip()
person = "a <a@b> 1700000000 +0000"
tree, parent = git("rev-parse", "HEAD^{tree}"), git("rev-parse", "HEAD")
text = f"tree {tree}\nparent {parent}\nauthor {person}\ncommitter {person}\n\n"
open("/tmp/c", "w").write(text + "A" * 20_000_000 + "\n")
print(git("hash-object", "-w", "-t", "commit", "/tmp/c"))
"""


def test_what_a_seat_pushes_concerns_that_seat_alone(platform: Platform, seat: Seats) -> None:
    stranger, other = seat.several(2, createGitRepo=True)
    branch = stranger.run("git -C /workspace branch --show-current").strip()

    # One commit with a first line of 20 MB.
    said = stranger.try_run(
        f"cd /workspace; c=$(python3 - <<'E'\n{ENDLESS}\nE\n); git push origin $c:refs/heads/{branch}"
    )
    assert said.returncode != 0 and "may have 1.0 MiB" in said.stdout, said.stdout
    _all_is_well(platform, other)

    # A file that compresses to nothing, hidden in an older commit.
    said = stranger.try_run(
        "cd /workspace; truncate -s 101M zeros; git add zeros; git commit -qm zeros; git rm -q zeros;"
        " git commit -qm gone; git push origin HEAD"
    )
    assert said.returncode != 0 and "The file 'zeros' has 101.0 MiB and may have 100.0 MiB." in said.stdout, said.stdout
    _all_is_well(platform, other)

    # Refused is refused: what is left of it goes, and the seat can push again.
    stranger.run(
        "cd /workspace; git reset -q --hard HEAD~2; echo 1 >a; git add a; git commit -qm a; git push -q origin HEAD"
    )

    # Many requests at once keep nobody waiting.
    stranger.leave_running(
        "cd /workspace; for n in $(seq 60); do (while :; do git ls-remote -q >/dev/null 2>&1; done) & done; wait"
    )
    _all_is_well(platform, other)


def _all_is_well(platform: Platform, other: Seat) -> None:
    """Repositories are listed, and somebody else pushes."""
    listed = platform.api.get("/api/git/repositories")
    assert listed.status_code == 200, listed.text
    assert all(repository["problem"] is None for repository in listed.json()["repositories"])
    other.run("cd /workspace; date +%N >>b; git add b; git commit -qm b; git push -q origin HEAD")
