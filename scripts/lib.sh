# Shared by the scripts in this folder: a virtual environment with what a script needs, made once and updated when the
# requirements change. Plain sh; sourced, not run.

# The scripts start thousands of processes, which should not compile the sources each time.
unset PYTHONDONTWRITEBYTECODE

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# find_python: the newest python3 that the project supports, on standard output.
find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "no Python 3.11, 3.12 or 3.13 with venv found; on Debian: apt-get install python3 python3-venv" >&2
    return 1
}

# ensure_venv NAME EXTRAS [FOLDER...]: makes the virtual environment $venv with the project (editable), these extras, and
# the distributions in these folders of the checkout (editable), such as converters[onnx].
ensure_venv() {
    venv="$root/.venvs/$1"
    wanted="$* $(cat "$root/pyproject.toml" "$root"/*/pyproject.toml "$root"/*/setup.py | cksum)"
    if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    python=${EDGE_ONESHOT_PYTHON:-$(find_python)} || exit 1
    echo "setting up $venv with $("$python" --version) for [$2] …" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    project="$root[$2]"
    shift 2
    for folder in "$@"; do
        set -- "$@" --editable "$root/$folder"
        shift
    done
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --editable "$project" "$@" >"$venv/install.log" 2>&1; then
        tail -n 20 "$venv/install.log" >&2
        echo "installation failed; the whole log: $venv/install.log" >&2
        exit 1
    fi
    echo "$wanted" >"$venv/.installed"
}

# ensure_test_venv: the environment of the tests and checks, with the converter and the trainers.
ensure_test_venv() {
    ensure_venv test test,check 'converters[onnx]' training
}

# ensure_release_venv: an environment with the setuptools that builds the distributions; its version is written into them.
ensure_release_venv() {
    setuptools=setuptools==80.9.0
    venv="$root/.venvs/release"
    if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$setuptools" ]; then
        python=${EDGE_ONESHOT_PYTHON:-$(find_python)} || exit 1
        [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$setuptools"
        echo "$setuptools" >"$venv/.installed"
    fi
}

# ensure_apt COMMAND PACKAGE: installs PACKAGE if COMMAND is missing and root may apt-get. False if it stays missing.
ensure_apt() {
    PATH=$PATH:/usr/sbin:/sbin
    command -v "$1" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $2 …" >&2
        (apt-get update && apt-get install --yes --no-install-recommends "$2") >/dev/null 2>&1 || return 1
        # Debian starts a broker of its own on port 1883; the scripts here use free ports and need none running.
        command -v "$1" >/dev/null 2>&1
        return
    fi
    return 1
}
