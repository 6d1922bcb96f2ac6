#!/usr/bin/env bash
# The checks that need the Python environment alone: no root, no Docker. tests/run.sh and .pre-commit-config.yaml take them
# from here. `tests/checks.sh [NAME ...]` runs all, or those named, until one fails.

static_checks=(format ruff mypy yamllint shellcheck ansible_lint docs unit)

check_format() { ruff format --check .; }
check_ruff() { ruff check .; }
check_mypy() { mypy; }
check_yamllint() { yamllint --strict .; }
check_shellcheck() { # every program of the checkout for sh or bash, by its name or its first line
  local file first failed=0
  while IFS= read -r -d '' file; do
    read -r first <"$file" || true
    case $first$file in
      '#!'*[/\ ]sh./* | '#!'*[/\ ]bash./*) set -- ;;
      # It is started with sh.
      *.sh) set -- --shell=sh ;;
      *) continue ;;
    esac
    if [[ $file == *.j2 ]]; then
      # With a word for each expression. Blocks would need Jinja.
      sed 's/{{[^}]*}}/1/g' "$file" | shellcheck "$@" - || { echo "in $file"; failed=1; }
    else
      shellcheck "$@" "$file" || failed=1
    fi
  done < <(find . \( -name .git -o -name .venv -o -name .ansible -o -name '.*_cache' -o -name node_modules -o -path ./out \) -prune -o -type f -print0)
  return $failed
}
check_ansible_lint() { ansible-lint --offline; }
check_docs() { # every module documents itself in a way that ansible-doc can read
  basename --suffix .py library/*.py | xargs ansible-doc --type module >/dev/null &&
    ansible-doc --type callback steps >/dev/null
}
check_unit() { pytest --durations 15 tests/unit; }

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  cd "$(dirname -- "$0")/.."
  export PATH=$PWD/.venv/bin:$PATH LC_ALL=C.UTF-8 ANSIBLE_CONFIG=$PWD/ansible.cfg ANSIBLE_HOME="${ANSIBLE_HOME:-$PWD/.ansible}"
  [ $# -gt 0 ] || set -- "${static_checks[@]}"
  for name in "$@"; do
    [[ " ${static_checks[*]} " == *" $name "* ]] || {
      echo "There is no check $name. There are: ${static_checks[*]}" >&2
      exit 2
    }
    "check_$name"
  done
fi
