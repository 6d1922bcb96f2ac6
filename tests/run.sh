#!/usr/bin/env bash
# Of `./atelier test [NAME ...]`, which makes the Python environment and then sources this: runs the checks and tests, all
# or those named, each with its output in out/test/NAME.log, which is shown when it fails. Ends with a summary.
# Goes on after a check that failed.
set +e -uo pipefail
: "${here:?run ./atelier test}" "${venv:?}"
cd "$here" || exit 1
export PATH=$venv/bin:$PATH PY_COLORS=0 NO_COLOR=1

# shellcheck source=checks.sh
. tests/checks.sh

check_prepare() { ansible-playbook tests/prepare.yml; }
alone() { # WHAT COMMAND...: one of its kind at a time on this machine, from whatever checkout
  local lock=${TMPDIR:-/tmp}/atelier-$1.lock
  flock --nonblock "$lock" true || echo "Another checkout's $1 are under way; these wait for them."
  # The lock is flock's alone: a dockerd that the tests start must not inherit it.
  flock --close "$lock" "${@:2}"
}
suite() { # FOLDER ARGUMENTS...: its tests, with those that take longest at the log's end
  pytest -v --durations 15 "tests/$1" "${@:2}"
}
check_module() { suite module; }
check_api() { suite api; }
check_hostile() { suite hostile; }
check_chaos() { ATELIER_CHAOS_QUIET=$logs/quiet suite chaos; }
# One installation for both files; the second one loses a machine.
check_cluster() { suite cluster/test_nodes.py tests/cluster/test_workshop.py; }
check_cluster_more() { suite cluster --ignore tests/cluster/test_chaos.py --ignore tests/cluster/test_nodes.py --ignore tests/cluster/test_workshop.py; }
check_cluster_chaos() { suite cluster/test_chaos.py; }
check_acme() { alone e2e-tests pytest -v --durations 15 tests/acme; }
check_bare() { suite bare -rP; }
check_backup() { suite backup; }
check_upgrade() { alone e2e-tests pytest -v --durations 15 tests/upgrade -m 'not earlier'; }
check_upgrade_earlier() { alone e2e-tests pytest -v --durations 15 tests/upgrade -m earlier; }
check_e2e() { alone e2e-tests pytest -v --durations 15 tests/e2e; }
check_molecule() { # SCENARIO
  alone scenarios molecule test --scenario-name "$1"
}

scenarios=()
for scenario in molecule/*/molecule.yml; do
  scenarios+=("molecule_$(basename "$(dirname "$scenario")")")
done
# Stage after stage; the lanes of a stage side by side. Each suite has a separate installation: other names, ports, bridges
# and address ranges (tests/README.md). Modules, API and scenarios take all that two cores have; machines and attacks often
# wait, for the limits that end them and for what was killed, so they are beside those from the beginning. The chaos waits
# for 30 seconds only: it makes its installation beside the others, and begins when they have ended.
stages=(
  # The unit tests take as long as all other static checks together.
  "prepare | ${static_checks[*]/%unit/| unit}"
  "module | api | ${scenarios[*]} e2e | cluster hostile | chaos"
)

# More of several machines, an authority for certificates with a name server, backups, upgrades, bare machines: only when
# they are named.
for name in cluster_more cluster_chaos acme backup upgrade upgrade_earlier bare; do
  [[ " $* " != *" $name "* ]] || stages+=("$name")
done

run() { # NAME
  case $1 in
    molecule_*) check_molecule "${1#molecule_}" ;;
    *) "check_$1" ;;
  esac
}

say() { # NAME WORDS...
  printf '%-26s %s\n' "$1" "${*:2}"
}

follow() { # NAME PID START LOG: says every half minute where a long check is
  while sleep 30 && kill -0 "$2" 2>/dev/null; do
    say "$1" "... $(elapsed "$3")  $(tail -c 2000 "$4" | tr -d '\r' | grep -v '^ *$' | tail -n 1 | cut -c 1-100)"
  done
}

check() { # NAME: runs it, says how it went, notes it when it failed
  local name=$1 start=$EPOCHREALTIME log=$logs/$1.log check follower counted
  (run "$name") >"$log" 2>&1 </dev/null &
  check=$!
  follow "$name" "$check" "$start" "$log" &
  follower=$!
  if wait "$check"; then
    # pytest's own count, where there is one.
    counted=$(grep -Eo '[0-9]+ passed.*' "$log" | tail -n 1 | sed 's/ in .*//')
    say "$name" "ok in $(elapsed "$start")  $counted"
    echo "$name" >>"$logs/passed"
  else
    # In one piece, though another lane speaks too.
    say "$name" "FAILED after $(elapsed "$start")"$'\n'"$(tail -n 200 "$log")"
    echo "$name" >>"$logs/failed"
  fi
  kill "$follower" 2>/dev/null
  wait "$follower" 2>/dev/null
}

lane() { # NAMES...: those that were asked for, one after the other
  local name
  for name in "$@"; do
    [[ " ${chosen[*]} " != *" $name "* ]] || check "$name"
  done
}

read -ra names <<<"${stages[*]//|/}"
if [ "${1:-}" = list ]; then
  printf '%s\n' "${names[@]}"
  exit 0
fi
for name in "$@"; do
  [[ " ${names[*]} " == *" $name "* ]] || die "there is no test $name. There are: ${names[*]}"
done
chosen=("${names[@]}")
[ $# -eq 0 ] || chosen=("$@")
# Stages after the preparation need it, even if they are requested alone.
for name in "$@"; do
  [[ " ${stages[0]//|/} " == *" $name "* || " ${chosen[*]} " == *" prepare "* ]] || chosen+=(prepare)
done

logs=$here/out/test
mkdir -p "$logs"
: >"$logs/passed"
: >"$logs/failed"
# Background processes do not receive Ctrl-C.
trap 'trap - TERM; kill -- 0' INT
start_of_all=$EPOCHREALTIME
for stage in "${stages[@]}"; do
  IFS='|' read -ra lanes <<<"$stage"
  running=()
  rm -f "$logs/quiet"
  for names_of_lane in "${lanes[@]}"; do
    # shellcheck disable=SC2086 # the names are words
    lane $names_of_lane &
    running+=($!)
  done
  unset 'running[-1]'
  [ ${#running[@]} -eq 0 ] || wait "${running[@]}"
  touch "$logs/quiet"
  wait
  # Nothing that needs Docker can pass without its preparation.
  ! grep -qx prepare "$logs/failed" || break
done

mapfile -t passed <"$logs/passed"
mapfile -t failed <"$logs/failed"
echo
# Once more at the end, which is all that some CI services keep.
for name in "${failed[@]}"; do
  echo "The end of out/test/$name.log:"
  tail -n 60 "$logs/$name.log"
done
[ ${#failed[@]} -eq 0 ] || echo "Failed: ${failed[*]}. Their output is in out/test/."
echo "Took $(elapsed "$start_of_all")."
echo "checks: ${#passed[@]} passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
