#!/bin/sh
# In a seat, as its user: makes /workspace a repository whose origin is the seat's branch on the git server, and pushes.
#
#   connect_repository.sh BRANCH URL SECONDS RESTORE
#
# The user's git settings are not trusted: no hooks, signing or prompts. Uncommitted changes stay. If the server's branch
# has more commits, it is only tracked: the user decides how to continue.
set -u
branch=$1 url=$2 seconds=$3 restore=$4
export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS='' GIT_EDITOR=true LC_ALL=C.UTF-8
git() {
    timeout --kill-after=5 "$seconds" git "$@"
}
plain() {
    git -c core.hooksPath=/dev/null -c commit.gpgSign=false -c push.gpgSign=false "$@"
}
if ! command -v load-git-credential >/dev/null; then
    echo 'atelier: old_image'
    exit 1
fi
load-git-credential || exit
cd /workspace || exit
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = /workspace ] || git init --quiet --template= . || exit
if ! git rev-parse --verify --quiet HEAD >/dev/null; then
    plain add --all && plain commit --quiet --no-verify --allow-empty --message 'Start of the workspace' || exit
fi
if present=$(git remote get-url origin 2>/dev/null); then
    if [ "$present" != "$url" ]; then
        # Keep the previous origin as upstream, if that name is free.
        git remote get-url upstream >/dev/null 2>&1 || git remote rename origin upstream || exit
        git remote set-url origin "$url" 2>/dev/null || git remote add origin "$url" || exit
    fi
else
    git remote add origin "$url" || exit
fi
if [ "$(git symbolic-ref --quiet --short HEAD)" != "$branch" ]; then
    if git show-ref --verify --quiet "refs/heads/$branch"; then
        plain switch --quiet "$branch" || exit
    elif [ "$branch" = main ] && git symbolic-ref --quiet HEAD >/dev/null; then
        git branch --move main || exit
    else
        plain switch --quiet --create "$branch" || exit
    fi
fi
if [ -n "$restore" ] && plain fetch --quiet origin "$branch"; then
    git reset --quiet --hard FETCH_HEAD && git branch --quiet --set-upstream-to="origin/$branch"
    exit
fi
said=$(plain push --quiet --set-upstream origin "$branch" 2>&1) && exit 0
if plain fetch --quiet origin "$branch" 2>/dev/null && git merge-base --is-ancestor HEAD FETCH_HEAD; then
    git branch --quiet --set-upstream-to="origin/$branch" && exit 0
fi
echo "$said"
exit 1
