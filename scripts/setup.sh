#!/usr/bin/env bash
# Build the virtual environment $1 from requirements.lock (every package by its hash) and install this
# project into it, editable. Uses uv when it is on PATH, pip otherwise. PYTHON= chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

fail() {
    printf 'error: %s\nHINT: %s\n' "$1" "$2" >&2
    exit 2
}

fits() { # whether $1 runs and is 3.11, 3.12 or 3.13
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    fits "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is not Python 3.11, 3.12 or 3.13" "name another one"
    python=$PYTHON
else
    python=
    for candidate in python3 python3.13 python3.12 python3.11; do
        if fits "$candidate"; then python=$candidate && break; fi
    done
    [ -n "$python" ] || fail \
        "Python 3.11, 3.12 or 3.13 is needed; python3 is $(python3 --version 2>&1 || echo missing)" \
        "install one (Debian 12: apt-get install python3 python3-venv), or run: make setup PYTHON=/path/to/python3.12"
fi

# an environment that was copied, or whose interpreter is gone, is built anew
if [ -e "$venv" ] && ! "$venv/bin/python" -c 'import sys' >/dev/null 2>&1; then rm -rf "$venv"; fi

echo "setup: $("$python" --version 2>&1) → $venv, $(grep -c '^[a-zA-Z0-9].*==' requirements.lock) packages by hash"
# --no-deps: the lock is the whole closure, so nothing is resolved; `check` shows that nothing is missing
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$(command -v "$python")" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --no-deps --require-hashes -r requirements.lock
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
    uv pip check --quiet --python "$venv/bin/python"
else
    if [ ! -x "$venv/bin/python" ]; then
        "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || fail \
            "$python has no venv module, so no environment can be made" \
            "Debian and Ubuntu: apt-get install python3-venv (or install uv: https://docs.astral.sh/uv/)"
        "$python" -m venv "$venv"
    fi
    pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
    "${pip[@]}" install --quiet --no-deps --require-hashes -r requirements.lock
    "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
    "${pip[@]}" check >/dev/null
fi
