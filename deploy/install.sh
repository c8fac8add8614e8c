#!/bin/sh
# Installs edge-oneshot as a service on Raspberry Pi OS or Debian, 64-bit: Bookworm (Python 3.11) or Trixie (3.13).
# Run it again to upgrade; configuration and gallery are kept.
#
#   sudo deploy/install.sh [--wheel FILE] [--with-av] [--with-mosquitto] [--no-start]
#   sudo deploy/install.sh --uninstall [--purge]
#
#   --wheel FILE       install this wheel instead of the checkout that this script lies in
#   --with-av          also PyAV, for USB cameras, RTSP and video files
#   --with-mosquitto   also a broker on this device
#   --no-start         enable the service, do not start it
#   --uninstall        remove program and service; configuration, gallery and user stay
#   --purge            with --uninstall: remove those too. Everybody enrolled is forgotten.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/edge-oneshot
config=/etc/edge-oneshot
state=/var/lib/edge-oneshot
link=/usr/local/bin/edge-oneshot

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() { printf 'error: %s\nfix: %s\n' "$1" "$2" >&2; exit 1; }
usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; }

wheel='' av='' mosquitto='' start=yes uninstall='' purge=''
while [ $# -gt 0 ]; do
    case $1 in
        --wheel) [ $# -ge 2 ] || fail "--wheel: expected a file, got nothing" "name a .whl file"; wheel=$2; shift ;;
        --with-av) av=yes ;;
        --with-mosquitto) mosquitto=yes ;;
        --no-start) start='' ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "no such option: $1" "see above"; ;;
    esac
    shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || fail "--purge goes with --uninstall only" "add --uninstall if you mean it"

# systemd may be installed and not be running: a chroot, a container, an image being made.
running() { [ -d /run/systemd/system ]; }

services() { # every unit of ours that is enabled, runs, or tries to, one a line
    {
        systemctl list-unit-files --no-legend 'edge-oneshot*.service' 2>/dev/null | awk '$2 == "enabled" {print $1}'
        # No inactive ones: edge-oneshot@default is loaded as soon as another unit names it as a conflict.
        if running; then
            systemctl list-units --plain --no-legend --state=active,activating,failed 'edge-oneshot*.service' 2>/dev/null | awk '{print $1}'
        fi
        # list-unit-files shows the template, not its instances
        for file in /etc/systemd/system/*.wants/edge-oneshot*.service; do [ -L "$file" ] && basename "$file"; done
    } | grep -v '@\.service$' | sort -u
}

remove_program() {
    say "stopping and removing the service"
    for unit in $(services); do
        if running; then systemctl stop "$unit" || note "$unit did not stop"; fi
        systemctl disable --quiet "$unit" || note "$unit was not enabled"
        note "$unit"
    done
    rm -f /etc/systemd/system/edge-oneshot.service /etc/systemd/system/edge-oneshot@.service
    rm -f /etc/sysusers.d/edge-oneshot.conf /etc/tmpfiles.d/edge-oneshot.conf "$link"
    if running; then systemctl daemon-reload; fi
    say "removing $prefix"
    rm -rf "$prefix" /run/edge-oneshot
    if [ -z "$purge" ]; then
        note "kept: $config, $state and the user edge-oneshot; --uninstall --purge removes them"
        return
    fi
    say "removing configuration, gallery, credentials and user: everybody enrolled is forgotten"
    rm -rf "$config" "$state" /etc/systemd/system/edge-oneshot.service.d /etc/systemd/system/edge-oneshot@*.service.d
    rm -f /etc/credstore/edge-oneshot.*.mqtt-password
    if getent passwd edge-oneshot >/dev/null; then userdel edge-oneshot; fi
    if getent group edge-oneshot >/dev/null; then groupdel edge-oneshot; fi
}

[ "$(id -u)" = 0 ] || fail "installing a service needs root" "sudo $0"

if [ -n "$uninstall" ]; then
    remove_program
    say "done"
    exit 0
fi

# ---- can it work here?

command -v apt-get >/dev/null || fail "expected Raspberry Pi OS or Debian, found no apt-get" "see docs/install.md for other systems"
arch=$(dpkg --print-architecture)
case $arch in
    arm64 | amd64) ;;
    *) fail "expected a 64-bit system (arm64), got $arch: LiteRT, the TFLite runtime, has no 32-bit package" \
        "install the 64-bit Raspberry Pi OS; a Pi 3, 4, 5 or Zero 2 runs it" ;;
esac
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
case $codename in
    bookworm | trixie) ;;
    *) note "this is $codename; tried were bookworm and trixie" ;;
esac
if [ -n "$wheel" ]; then
    [ -f "$wheel" ] || fail "no wheel at $wheel" "check the path"
    wheel=$(realpath "$wheel")
else
    [ -f "$here/../pyproject.toml" ] || fail "expected a checkout around $here, got none" "run it from a checkout, or name a wheel with --wheel"
fi

# ---- Debian's packages

export DEBIAN_FRONTEND=noninteractive
say "Debian packages"
apt-get update -qq || note "the package lists could not be renewed; going on with those that are here"
packages='python3 python3-venv'
# libcamera's Python bindings come from the system's archive only, and fit only the system's Python.
if apt-cache show --quiet=2 python3-picamera2 >/dev/null 2>&1; then
    packages="$packages python3-picamera2"
else
    note "no python3-picamera2 in this system's archives: the Raspberry Pi camera (picamera2:) will not work here"
fi
[ -z "$mosquitto" ] || packages="$packages mosquitto mosquitto-clients"
note "$packages"
# shellcheck disable=SC2086  # a list of words
apt-get install -y -qq --no-install-recommends $packages >/dev/null
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "expected Python 3.11 or newer, got $(python3 --version)" "upgrade the system to Bookworm or Trixie"

# ---- the program

say "program in $prefix"
venv=--upgrade
if [ -x "$prefix/bin/python" ] && ! "$prefix/bin/python" -c 'import sys; sys.exit(f"{sys.version_info[0]}.{sys.version_info[1]}" != sys.argv[1])' \
        "$(python3 -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')" 2>/dev/null; then
    note "the system's Python has changed: the environment is made anew"
    venv=--clear
fi
python3 -m venv --system-site-packages "$venv" "$prefix"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/constraints.txt"
if [ "$codename" = bookworm ]; then
    # Bookworm's python3-picamera2 and simplejpeg are built against numpy 1 and break beside numpy 2.
    echo 'numpy<2' >"$work/constraints.txt"
fi
source=$wheel
if [ -z "$source" ]; then
    # A copy, so that the build leaves nothing of root's in the checkout.
    mkdir "$work/source"
    for part in pyproject.toml README.md LICENSE edge_oneshot; do
        cp -R "$here/../$part" "$work/source/"
    done
    source=$work/source
fi
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade -c "$work/constraints.txt" "edge-oneshot${av:+[av]} @ file://$source" ||
    fail "pip could not install edge-oneshot" "read its message above; it needs a connection to a package index"
# The same version with changed files is "already satisfied" for pip: put the program itself in anew, whatever it is called.
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --force-reinstall --no-deps "edge-oneshot @ file://$source"
ln -sf "$prefix/bin/edge-oneshot" "$link"
note "$("$link" --version)"

# ---- user, folders, configuration

say "user edge-oneshot, $state, /run/edge-oneshot"
install -D -m 0644 "$here/sysusers.d/edge-oneshot.conf" /etc/sysusers.d/edge-oneshot.conf
install -D -m 0644 "$here/tmpfiles.d/edge-oneshot.conf" /etc/tmpfiles.d/edge-oneshot.conf
systemd-sysusers /etc/sysusers.d/edge-oneshot.conf
systemd-tmpfiles --create /etc/tmpfiles.d/edge-oneshot.conf
person=${SUDO_USER:-}
if [ -n "$person" ] && [ "$person" != root ]; then
    usermod -aG edge-oneshot "$person"
    note "$person is in the group edge-oneshot and may speak to the daemon after the next log-in"
fi

say "configuration $config/default.toml"
if [ -e "$config/default.toml" ]; then
    note "is there and is kept"
else
    "$link" config example >"$work/default.toml"
    # A camera's URI may hold a password: not for everybody.
    install -m 0640 -g edge-oneshot "$work/default.toml" "$config/default.toml"
    note "made, with every default"
fi
faulty=''
for file in "$config"/*.toml; do
    "$link" --config "$file" config check >/dev/null || faulty=yes
done
[ -z "$faulty" ] || note "mend the faults above: the service does not start with them"

# ---- the service

say "service"
for unit in edge-oneshot.service edge-oneshot@.service; do
    install -m 0644 "$here/$unit" /etc/systemd/system/
done
systemctl enable --quiet edge-oneshot.service
if running; then
    systemctl daemon-reload
    if [ -n "$start" ]; then
        for unit in $(services); do
            if systemctl restart "$unit"; then note "$unit runs"; else note "$unit does not start: journalctl -u $unit"; fi
        done
    fi
else
    note "systemd is not running here: the service is enabled and starts with the next boot"
fi

say "done"
note "edit $config/default.toml (camera.uri, mqtt.host), then: sudo systemctl restart edge-oneshot"
note "edge-oneshot doctor                            checks everything and says how to mend it"
note "edge-oneshot camera test --out F.jpg           shows what the camera sees"
note "edge-oneshot enroll --name alice               enrolls whoever stands before the camera"
