#!/bin/bash
# Commits a seat's uncommitted changes, and pushes to the seat's own branch. Runs in the seat, as its user:
#
#   commit_and_push.sh BRANCH NAME EMAIL MESSAGE COMMIT-SECONDS PUSH-SECONDS URL
#
# Prints the result as lines "atelier: WORD TEXT"; a note's TEXT begins with its code (see _NOTES in
# save_work.py).
#
# The user's git settings are not trusted: no hooks, signing, prompts or programs in place of git. A whole workshop
# commits at once, so git does not compress (the archive does), and starts no garbage collection that would run while
# the archive is taken.
#
# If a commit fails with the user's settings, it is repeated with ours: in a second git folder with the seat's objects,
# references and logs. Everything is pushed from such a folder: by address, with the helper of /etc/gitconfig, so that
# no remote, URL rewrite, helper or proxy of the user is involved. Nothing is forced: if the seat's history was
# rewritten, the server keeps the old one.
set -u
branch=$1 name=$2 email=$3 message=$4 commit_seconds=$5 push_seconds=$6 url=$7
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS='' GIT_EDITOR=true GIT_CONFIG_COUNT=0
# Time limit of lookups: a named pipe in place of a file blocks its reader.
look_seconds=20
# These override all configuration files.
for setting in core.hooksPath=/dev/null core.fsmonitor=false commit.gpgSign=false push.gpgSign=false gc.auto=0 \
    maintenance.auto=false core.looseCompression=0 pack.compression=1 pack.window=0; do
    export "GIT_CONFIG_KEY_$GIT_CONFIG_COUNT=${setting%%=*}" "GIT_CONFIG_VALUE_$GIT_CONFIG_COUNT=${setting#*=}"
    GIT_CONFIG_COUNT=$((GIT_CONFIG_COUNT + 1))
done
git() { timeout --kill-after=5 "$look_seconds" git "$@"; }
copy() { timeout --kill-after=5 "$look_seconds" cp -- "$1" "$2"; }
cd /workspace || exit
own=$(mktemp -d /tmp/.collect.XXXXXX) || exit
trap 'rm -rf "$own"' EXIT
failure='' said='' partly='' notes=() who=()
note() {
    local text=${2:-}
    [ "${#text}" -le 2000 ] || text="[...]${text: -2000}"
    notes+=("$1 ${text//$'\n'/ }")
}
say() { printf '\natelier: %s %s\n' "$1" "$2"; }
finish() {
    local each
    for each in "${notes[@]}"; do say note "$each"; done
    exit 0
}
give_up() { note "$1"; finish; }
plain() {
    local look_seconds=$1
    git "${@:2}" 2>&1
}
find_it() {
    local found
    found=$(git rev-parse --show-toplevel --absolute-git-dir --path-format=absolute --git-common-dir 2>/dev/null) \
        || return
    mapfile -t found <<<"$found"
    [ "${found[0]}" = /workspace ] || return
    seats=${found[1]} common=${found[2]}
}
ours() { # From here on git has our settings, with the seat's objects and references.
    [ -z "${GIT_DIR:-}" ] || return 0
    printf '[core]\n\trepositoryFormatVersion = 0\n\tlogAllRefUpdates = true\n' >"$own/config"
    copy "$seats/HEAD" "$own/HEAD" || return
    local part parts=()
    for part in objects refs logs packed-refs info shallow; do
        [ ! -e "$common/$part" ] || parts+=("$common/$part")
    done
    ln -s "${parts[@]}" "$own" || return
    export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$own GIT_WORK_TREE=/workspace
}
take_index() {
    local part
    for part in MERGE_HEAD MERGE_MSG index; do
        [ ! -f "$seats/$part" ] || copy "$seats/$part" "$own/$part"
    done
    git ls-files >/dev/null 2>&1 && return
    rm -f "$own/index"
    ! git rev-parse --verify --quiet HEAD >/dev/null || plain "$commit_seconds" read-tree HEAD >/dev/null
}
commit_all() {
    partly=
    said=$(plain "$commit_seconds" add --all) || {
        failure=not_all_files
        # Add all other files even if one fails.
        plain "$commit_seconds" add --all --ignore-errors >/dev/null
        ! git diff --cached --quiet 2>/dev/null || return
        partly=$said
    }
    said=$(plain "$commit_seconds" "${who[@]}" commit --quiet --no-verify --message "$message") && return
    failure=not_committable
    return 1
}
push() {
    # Without a home there is no .netrc either.
    said=$(HOME=/nonexistent plain "$push_seconds" push --quiet "$url" "$1:refs/heads/$branch")
}

seats=/workspace/.git common=/workspace/.git
if ! find_it; then
    export GIT_CONFIG_GLOBAL=/dev/null
    if ! find_it; then
        [ -f "$seats/HEAD" ] && [ -d "$seats/objects" ] || give_up no_git
        { ours && take_index; } || give_up git_broken
    fi
fi

# If the index is a named pipe, every git command would block on it.
if [ -e "$seats/index" ] && [ ! -f "$seats/index" ]; then
    { ours && take_index; } || give_up git_broken
fi

# One call for all status data. Untracked files count, whatever the user's settings say.
state=$(plain "$commit_seconds" --no-optional-locks status --porcelain=v2 --branch --untracked-files=normal) \
    || state='? unreadable'
here=
if [[ $state == *'# branch.head '* ]]; then
    here=${state#*'# branch.head '} here=${here%%$'\n'*}
    [ "$here" != '(detached)' ] || here=
else
    here=$(git symbolic-ref --quiet --short HEAD)
fi
[ -n "$branch" ] || [ -z "$here" ] || say branch "$here"
middle=
if [ -d "$seats/rebase-merge" ] || [ -d "$seats/rebase-apply" ]; then
    middle=rebase
elif [[ $state == *$'\nu '* ]]; then
    middle=merge
elif [ -z "$here" ]; then
    note on_no_branch
fi
if [ -n "$middle" ]; then
    note "midway_$middle"
elif [[ $'\n'$state == *$'\n'[!#]* ]]; then
    git config user.email >/dev/null || who=(-c "user.name=$name" -c "user.email=$email")
    done=
    if commit_all; then
        done=yes
    elif [ -z "${GIT_DIR:-}" ]; then
        first=("$failure" "$said")
        who=(-c "user.name=$(git config user.name || echo "$name")")
        who+=(-c "user.email=$(git config user.email || echo "$email")")
        if ours && take_index && commit_all; then done=yes; else failure=${first[0]} said=${first[1]}; fi
    fi
    if [ -n "$done" ]; then
        say committed yes
        [ -z "$partly" ] || note not_all_files "$partly"
        if [ -n "${GIT_DIR:-}" ]; then
            # Its branch is shared; copy the rest to its own git folder.
            [ -n "$here" ] || copy "$own/HEAD" "$seats/HEAD"
            [ -e "$seats/index.lock" ] || copy "$own/index" "$seats/index"
            rm -f "$seats/MERGE_HEAD" "$seats/MERGE_MSG" "$seats/MERGE_MODE"
        fi
    else
        note "$failure" "$said"
    fi
fi

commit=$(git rev-parse --verify --quiet HEAD)
its_branch=$([ -z "$branch" ] || git rev-parse --verify --quiet "refs/heads/$branch")
if [ -z "$here" ] && [ -n "$its_branch" ] \
    && { [ "$middle" = rebase ] || git merge-base --is-ancestor HEAD "$its_branch"; }; then
    # During a rebase the branch is unchanged; a detached HEAD has nothing to push.
    commit=$its_branch
fi
[ -n "$commit" ] || give_up no_commit
say commit "$commit"
[ -n "$branch" ] || give_up no_branch
[ -n "$url" ] || give_up no_git_server
ours || give_up git_broken_unpushed
given=/etc/code-server/git-credential there=/dev/shm/workspace-git-credential
# The credential may have been lost from memory.
[ ! -r "$given" ] || timeout "$look_seconds" cmp --quiet "$given" "$there" \
    || timeout --kill-after=5 "$look_seconds" load-git-credential
if push "$commit"; then
    say pushed yes
    finish
fi
case $said in
    *non-fast-forward* | *'fetch first'*)
        note behind "$commit"
        if [ -n "$its_branch" ] && [ "$its_branch" != "$commit" ] && push "$its_branch"; then
            say commit "$its_branch"
            say pushed yes
        fi
        ;;
    *) note not_pushed "$said" ;;
esac
finish
