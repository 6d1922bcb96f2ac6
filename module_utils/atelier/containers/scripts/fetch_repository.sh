#!/bin/sh
# In a seat, as its user: replaces the content of /workspace by a repository.
#
#   fetch_repository.sh URL ORIGIN SECONDS ACCESS-FILE
#
# The new files are fetched beside the old ones until complete. A killed run leaves a mark of its progress, from which
# the next one continues.
set -u
url=$1 origin=$2 seconds=$3 access=$4
export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=http:https GIT_ASKPASS='' LC_ALL=C.UTF-8
new=$HOME/.cache/atelier-git-clone
if [ ! -e "$new/whole" ]; then
    rm -rf "$new" && mkdir -p "$new" || exit
    timeout --kill-after=5 "$seconds" git -c credential.helper= \
        -c "credential.$origin.helper=!f() { test \"\$1\" = get && test -r $access && cat $access; :; }; f" \
        -c http.lowSpeedLimit=1 -c http.lowSpeedTime=60 \
        clone --quiet --no-recurse-submodules --template= -- "$url" "$new/workspace" || exit
    # Git takes any web page for an empty repository of an old kind of server.
    if ! timeout --kill-after=5 60 git -C "$new/workspace" rev-parse --verify --quiet HEAD >/dev/null; then
        echo 'atelier: nothing_in_it'
        exit 1
    fi
    if [ -e /workspace/.git ]; then
        # A git that fails or takes too long says nothing of changes: nothing is removed then.
        changes=$(timeout --kill-after=5 60 git -C /workspace status --porcelain) || exit
        commits=$(timeout --kill-after=5 60 git -C /workspace rev-list --count --all) || exit
        tips=$(timeout --kill-after=5 60 git -C /workspace rev-list --no-walk --all) || exit
        # A template has one commit. More that are all in the repository are those of a fetch that nobody noted.
        if [ -n "$changes" ] || { [ "$commits" -gt 1 ] && ! echo "$tips" |
            timeout --kill-after=5 60 git -C "$new/workspace" rev-list --max-count=1 --stdin >/dev/null 2>&1; }; then
            echo 'atelier: files_there'
            exit 1
        fi
    else
        # Every template has a repository: somebody removed it, and nothing says what is work.
        files=$(find /workspace -mindepth 1 -maxdepth 1 -print -quit) || exit
        if [ -n "$files" ]; then
            echo 'atelier: files_there'
            exit 1
        fi
    fi
    touch "$new/whole" || exit
fi
if [ ! -e "$new/room" ]; then
    find /workspace -mindepth 1 -maxdepth 1 -exec rm -rf {} + && touch "$new/room" || exit
fi
find "$new/workspace" -mindepth 1 -maxdepth 1 -exec mv -t /workspace {} + && rm -rf "$new"
