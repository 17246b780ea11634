#!/usr/bin/env bash
# Makes .venv from the lock. Needs Python 3.11 or newer; finds or gets uv by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=${1:-requirements-dev.lock}

say() { printf 'setup: %s\n' "$*"; }

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      python=$(command -v "$candidate"); break
    fi
  done
fi
[ -n "$python" ] || { say "Python 3.11 or newer is missing: install it (Debian, Ubuntu: apt-get install python3)."; exit 1; }

find_uv() {
  if command -v uv >/dev/null; then command -v uv; return; fi
  local home=${XDG_CACHE_HOME:-$HOME/.cache}/execplane-uv
  if [ ! -x "$home/bin/uv" ]; then
    if ! "$python" -m venv "$home" >/dev/null 2>&1; then
      rm -rf "$home"
      if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update && apt-get install -y --no-install-recommends python3-venv) >/dev/null 2>&1
        "$python" -m venv "$home" >/dev/null
      else
        say "Python cannot make virtual environments here: install python3-venv, or uv." >&2; return 1
      fi
    fi
    "$home/bin/pip" install --quiet --disable-pip-version-check uv >&2
  fi
  echo "$home/bin/uv"
}

stamp=.venv/.lock-$(sha256sum "$lock" pyproject.toml | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
  uv=$(find_uv)
  [ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
  VIRTUAL_ENV=$PWD/.venv "$uv" pip sync --quiet --require-hashes "$lock"
  VIRTUAL_ENV=$PWD/.venv "$uv" pip install --quiet --no-deps -e .
  rm -f .venv/.lock-*
  touch "$stamp"
fi
