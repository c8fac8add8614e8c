# Shared by the scripts here: a virtual environment with what one of them needs, made once and renewed when the
# project's requirements change. Plain sh; sourced, not run.

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

# ensure_venv NAME EXTRAS: $venv is then a virtual environment with the project (editable) and these extras.
ensure_venv() {
    venv="$root/.venvs/$1"
    wanted="$2 $(cksum <"$root/pyproject.toml")"
    if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    python=${EDGE_ONESHOT_PYTHON:-$(find_python)} || exit 1
    echo "setting up $venv with $("$python" --version) for [$2] …" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --editable "$root[$2]" >"$venv/install.log" 2>&1; then
        tail -n 20 "$venv/install.log" >&2
        echo "installation failed; all of it: $venv/install.log" >&2
        exit 1
    fi
    echo "$wanted" >"$venv/.installed"
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
