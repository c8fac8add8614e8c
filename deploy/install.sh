#!/bin/sh
# Installs edge-oneshot as a service on 64-bit Raspberry Pi OS or Debian: Bookworm (Python 3.11) or Trixie (Python 3.13).
# Run it again to upgrade. An upgrade keeps configuration and gallery.
#
#   sudo deploy/install.sh [--wheel FILE] [--with-av] [--with-web] [--with-mosquitto] [--no-start]
#   sudo deploy/install.sh --uninstall [--purge]
#
#   --wheel FILE       install this wheel instead of the checkout that contains this script
#   --with-av          also install PyAV, for USB cameras, RTSP and video files
#   --with-web         also install the local page and its service, edge-oneshot-web
#   --with-mosquitto   also install a broker on this device
#   --no-start         enable the service without starting it
#   --uninstall        remove program and service; keep configuration, gallery and user
#   --purge            with --uninstall: remove those, too. This deletes every enrolled person.
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

wheel='' av='' web='' mosquitto='' start=yes uninstall='' purge=''
while [ $# -gt 0 ]; do
    case $1 in
        --wheel) [ $# -ge 2 ] || fail "--wheel: expected a file, got nothing" "give the path of a .whl file"; wheel=$2; shift ;;
        --with-av) av=yes ;;
        --with-web) web=yes ;;
        --with-mosquitto) mosquitto=yes ;;
        --no-start) start='' ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "no such option: $1" "use one of the options above"; ;;
    esac
    shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || fail "--purge: expected together with --uninstall, got --purge alone" "add --uninstall to remove everything"

# systemd may be installed but not running: in a chroot, in a container, while an image is built.
running() { [ -d /run/systemd/system ]; }

services() { # every edge-oneshot unit that is enabled, active, activating or failed, one a line
    {
        systemctl list-unit-files --no-legend 'edge-oneshot*.service' 2>/dev/null | awk '$2 == "enabled" {print $1}'
        # Not the inactive ones: systemd loads edge-oneshot@default because another unit conflicts with it.
        if running; then
            systemctl list-units --plain --no-legend --state=active,activating,failed 'edge-oneshot*.service' 2>/dev/null | awk '{print $1}'
        fi
        # list-unit-files lists the template, but not its instances
        for file in /etc/systemd/system/*.wants/edge-oneshot*.service; do [ -L "$file" ] && basename "$file"; done
    } | grep -v '@\.service$' | sort -u
}

remove_program() {
    say "stopping and removing the service"
    for unit in $(services); do
        if running; then systemctl stop "$unit" || note "could not stop $unit"; fi
        systemctl disable --quiet "$unit" || note "could not disable $unit"
        note "$unit"
    done
    rm -f /etc/systemd/system/edge-oneshot.service /etc/systemd/system/edge-oneshot@.service
    rm -f /etc/systemd/system/edge-oneshot-web.service
    rm -f /etc/sysusers.d/edge-oneshot.conf /etc/tmpfiles.d/edge-oneshot.conf "$link"
    if running; then systemctl daemon-reload; fi
    say "removing $prefix"
    rm -rf "$prefix" /run/edge-oneshot
    if [ -z "$purge" ]; then
        note "kept $config, $state and the user edge-oneshot; --uninstall --purge removes them"
        return
    fi
    say "removing configuration, gallery with every enrolled person, credentials and user"
    rm -rf "$config" "$state" /var/lib/edge-oneshot-web /etc/systemd/system/edge-oneshot.service.d /etc/systemd/system/edge-oneshot@*.service.d
    rm -f /etc/credstore/edge-oneshot.*.mqtt-password
    if getent passwd edge-oneshot-web >/dev/null; then userdel edge-oneshot-web; fi
    if getent passwd edge-oneshot >/dev/null; then userdel edge-oneshot; fi
    if getent group edge-oneshot >/dev/null; then groupdel edge-oneshot; fi
}

[ "$(id -u)" = 0 ] || fail "installing a service needs root" "run: sudo $0"

if [ -n "$uninstall" ]; then
    remove_program
    say "done"
    exit 0
fi

# ---- requirements

command -v apt-get >/dev/null || fail "expected Raspberry Pi OS or Debian, got a system without apt-get" "see docs/how-to/install.md for other systems"
arch=$(dpkg --print-architecture)
case $arch in
    arm64 | amd64) ;;
    *) fail "expected a 64-bit system (arm64), got $arch: LiteRT, the TFLite runtime, has no 32-bit package" \
        "install the 64-bit Raspberry Pi OS; it runs on a Pi 3, 4, 5 and Zero 2" ;;
esac
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
case $codename in
    bookworm | trixie) ;;
    *) note "this system is $codename; tested are bookworm and trixie" ;;
esac
if [ -n "$wheel" ]; then
    [ -f "$wheel" ] || fail "no wheel at $wheel" "check the path"
    wheel=$(realpath "$wheel")
else
    [ -f "$here/../pyproject.toml" ] || fail "expected a checkout in $(dirname "$here"), got none" "run the script from a checkout, or give a wheel with --wheel"
fi

# ---- Debian packages

export DEBIAN_FRONTEND=noninteractive
say "installing Debian packages"
apt-get update -qq || note "could not update the package lists; using the existing ones"
packages='python3 python3-venv'
# The Python bindings of libcamera exist only as a Debian package, and fit only the Python of the system.
if apt-cache show --quiet=2 python3-picamera2 >/dev/null 2>&1; then
    packages="$packages python3-picamera2"
else
    note "this system has no package python3-picamera2: the Raspberry Pi camera (picamera2:) will not work"
fi
[ -z "$mosquitto" ] || packages="$packages mosquitto mosquitto-clients"
note "$packages"
# shellcheck disable=SC2086  # a list of words
apt-get install -y -qq --no-install-recommends $packages >/dev/null
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "expected Python 3.11 or newer, got $(python3 --version)" "upgrade the system to Bookworm or Trixie"

# ---- the program

say "installing the program in $prefix"
venv=--upgrade
if [ -x "$prefix/bin/python" ] && ! "$prefix/bin/python" -c 'import sys; sys.exit(f"{sys.version_info[0]}.{sys.version_info[1]}" != sys.argv[1])' \
        "$(python3 -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')" 2>/dev/null; then
    note "the Python of the system has changed: rebuilding the environment"
    venv=--clear
fi
python3 -m venv --system-site-packages "$venv" "$prefix"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/constraints.txt"
if [ "$codename" = bookworm ]; then
    # python3-picamera2 and simplejpeg of Bookworm are built for numpy 1 and fail with numpy 2.
    echo 'numpy<2' >"$work/constraints.txt"
fi
extras=$(echo ${av:+av} ${web:+web} | tr ' ' ,)
source=$wheel
if [ -z "$source" ]; then
    # A copy, so that the build leaves no files of root in the checkout.
    mkdir "$work/source"
    for part in pyproject.toml README.md LICENSE edge_oneshot; do
        cp -R "$here/../$part" "$work/source/"
    done
    source=$work/source
fi
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade -c "$work/constraints.txt" "edge-oneshot${extras:+[$extras]} @ file://$source" ||
    fail "pip could not install edge-oneshot" "read the message of pip above; pip needs a connection to a package index"
# pip skips a version that is already installed, even if its files have changed: reinstall the program itself.
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --force-reinstall --no-deps "edge-oneshot @ file://$source"
ln -sf "$prefix/bin/edge-oneshot" "$link"
note "$("$link" --version)"

# ---- user, folders, configuration

say "creating the user edge-oneshot, $state and /run/edge-oneshot"
install -D -m 0644 "$here/sysusers.d/edge-oneshot.conf" /etc/sysusers.d/edge-oneshot.conf
install -D -m 0644 "$here/tmpfiles.d/edge-oneshot.conf" /etc/tmpfiles.d/edge-oneshot.conf
systemd-sysusers /etc/sysusers.d/edge-oneshot.conf
systemd-tmpfiles --create /etc/tmpfiles.d/edge-oneshot.conf
person=${SUDO_USER:-}
if [ -n "$person" ] && [ "$person" != root ]; then
    usermod -aG edge-oneshot "$person"
    note "$person is in the group edge-oneshot and may use the daemon after the next login"
fi

say "configuration $config/default.toml"
if [ -e "$config/default.toml" ]; then
    note "kept"
else
    "$link" config example >"$work/default.toml"
    # The URI of a camera may contain a password: readable by root and the group only.
    install -m 0640 -g edge-oneshot "$work/default.toml" "$config/default.toml"
    note "created, with every key at its default"
fi
faulty=''
for file in "$config"/*.toml; do
    "$link" --config "$file" config check >/dev/null || faulty=yes
done
[ -z "$faulty" ] || note "correct the faults above: the service does not start with them"

# ---- the service

say "enabling the service"
for unit in edge-oneshot.service edge-oneshot@.service; do
    install -m 0644 "$here/$unit" /etc/systemd/system/
done
systemctl enable --quiet edge-oneshot.service
if [ -n "$web" ]; then
    install -m 0644 "$here/edge-oneshot-web.service" /etc/systemd/system/
    systemctl enable --quiet edge-oneshot-web.service
fi
if running; then
    systemctl daemon-reload
    if [ -n "$start" ]; then
        for unit in $(services); do
            if systemctl restart "$unit"; then note "started $unit"; else note "$unit does not start; read the reason in: journalctl -u $unit"; fi
        done
    fi
else
    note "systemd is not running: the service starts at the next boot"
fi

say "done"
note "next: sudo edge-oneshot setup           finds camera and broker, enrolls the first person"
[ -z "$web" ] || note "sudo edge-oneshot web pair              prints the code that connects a browser to the page"
note "edge-oneshot doctor                     checks everything and gives the fix for each fault"
note "edge-oneshot camera test --out a.jpg    writes a picture of the camera, with the faces found"
note "edge-oneshot enroll --name Alice        enrolls the person in front of the camera"
