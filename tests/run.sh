#!/usr/bin/env bash
# Of `./atelier test [NAME ...]`, which makes the Python environment and then sources this: runs the checks and tests, all
# or those named, each with its output in out/test/NAME.log, which is shown when it fails. Ends with a summary.
# Goes on after a check that failed.
set +e -uo pipefail
: "${here:?run ./atelier test}" "${venv:?}"
cd "$here" || exit 1
export PATH=$venv/bin:$PATH PY_COLORS=0 NO_COLOR=1

check_prepare() { ansible-playbook tests/prepare.yml; }
check_format() { ruff format --check .; }
check_ruff() { ruff check .; }
check_mypy() { mypy; }
check_yamllint() { yamllint --strict .; }
check_ansible_lint() { ansible-lint --offline; }
check_docs() { # every module documents itself in a way that ansible-doc can read
  local module
  for module in library/*.py; do
    ansible-doc --type module "$(basename "$module" .py)" >/dev/null || return 1
  done
  ansible-doc --type callback steps >/dev/null
}
check_unit() { pytest tests/unit; }
check_module() { pytest -v tests/module; }
check_api() { pytest -v tests/api; }
check_e2e() { pytest -v tests/e2e; }
check_molecule() { # SCENARIO
  molecule test --scenario-name "$1"
}

# In this order: what is quick and fails often comes first; what needs Docker follows its preparation.
names=(format ruff mypy yamllint ansible_lint docs unit prepare module api)
for scenario in molecule/*/molecule.yml; do
  names+=("molecule_$(basename "$(dirname "$scenario")")")
done
names+=(e2e)

run() { # NAME
  case $1 in
    molecule_*) check_molecule "${1#molecule_}" ;;
    *) "check_$1" ;;
  esac
}

follow() { # PID START LOG: says every half minute where a long check is
  while sleep 30 && kill -0 "$1" 2>/dev/null; do
    printf '        ... %s  %s\n' "$(elapsed "$2")" "$(tail -c 2000 "$3" | tr -d '\r' | grep -v '^ *$' | tail -n 1 | cut -c 1-100)"
  done
}

if [ "${1:-}" = list ]; then
  printf '%s\n' "${names[@]}"
  exit 0
fi
for name in "$@"; do
  [[ " ${names[*]} " == *" $name "* ]] || die "there is no test $name. There are: ${names[*]}"
done
[ $# -eq 0 ] || names=("$@")

logs=$here/out/test
mkdir -p "$logs"
start_of_all=$EPOCHREALTIME
failed=()
for number in "${!names[@]}"; do
  name=${names[number]}
  start=$EPOCHREALTIME
  printf '[%d/%d] %s\n' "$((number + 1))" "${#names[@]}" "$name"
  (run "$name") >"$logs/$name.log" 2>&1 </dev/null &
  check=$!
  follow "$check" "$start" "$logs/$name.log" &
  follower=$!
  if wait "$check"; then
    # pytest's own count, where there is one.
    counted=$(grep -Eo '[0-9]+ passed.*' "$logs/$name.log" | tail -n 1 | sed 's/ in .*//')
    printf '        ok in %s  %s\n' "$(elapsed "$start")" "$counted"
  else
    printf '        FAILED after %s\n' "$(elapsed "$start")"
    failed+=("$name")
    tail -n 200 "$logs/$name.log"
  fi
  kill "$follower" 2>/dev/null
  wait "$follower" 2>/dev/null
  # Nothing that needs Docker can pass without its preparation.
  [[ " ${failed[*]-} " != *" prepare "* ]] || break
done

echo
[ ${#failed[@]} -eq 0 ] || echo "Failed: ${failed[*]}. Their output is in out/test/."
echo "Took $(elapsed "$start_of_all")."
echo "checks: $((number + 1 - ${#failed[@]})) passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
