#!/bin/sh
# Installs edge-oneshot from a checkout as a service on 64-bit Raspberry Pi OS or Debian: Bookworm or Trixie.
# Run it again to upgrade: configuration and gallery are kept, and the new program is tested before it takes over.
#
#   sudo deploy/install.sh [--wheel FILE] [--with-web] [--with-mosquitto] [--no-start]
#   sudo deploy/install.sh --rollback
#   sudo deploy/install.sh --uninstall [--purge]
#
#   --wheel FILE       install this wheel of edge-oneshot instead of the checkout that contains this script
#   --with-web         also enable the service of the local page, edge-oneshot-web
#   --with-mosquitto   also install a broker on this device
#   --no-start         enable the service without starting it
#   --rollback         restore the program before the last upgrade
#   --uninstall        remove program and service; keep configuration, gallery and user
#   --purge            with --uninstall: remove those, too. This deletes every enrolled person.
set -eu
umask 022 # the service and the members of its group must be able to read what root installs

here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/edge-oneshot
versions=$prefix/versions
current=$prefix/current   # link to the program in use, in $versions
previous=$prefix/previous # link to the one before
config=/etc/edge-oneshot
state=/var/lib/edge-oneshot
link=/usr/local/bin/edge-oneshot
need_mb=700 # measured: 325 MB for the program, as much again while it is built
. "$here/reasons.sh"

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() { printf 'error: %s\nfix: %s\n' "$1" "$2" >&2; exit "${3:-1}"; }
misused() { usage >&2; fail "$1" "$2" 2; }
usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; }

wheel='' web='' mosquitto='' start=yes uninstall='' purge='' rollback=''
while [ $# -gt 0 ]; do
    case $1 in
        --wheel) [ $# -ge 2 ] || misused "--wheel: expected a file, got nothing" "give the path of a .whl file"; wheel=$2; shift ;;
        --with-web) web=yes ;;
        --with-mosquitto) mosquitto=yes ;;
        --no-start) start='' ;;
        --rollback) rollback=yes ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        -h | --help) usage; exit 0 ;;
        *) misused "no such option: $1" "use one of the options above" ;;
    esac
    shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || misused "--purge: expected together with --uninstall, got --purge alone" "add --uninstall to remove everything"

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
    rm -f /etc/systemd/system/edge-oneshot-web.service /etc/systemd/system/edge-oneshot-fleet.service
    rm -f /etc/sysusers.d/edge-oneshot.conf /etc/tmpfiles.d/edge-oneshot.conf "$link"
    if running; then systemctl daemon-reload; fi
    say "removing $prefix"
    rm -rf "$prefix" /run/edge-oneshot
    if [ -z "$purge" ]; then
        note "kept $config, $state and the user edge-oneshot; --uninstall --purge removes them"
        return
    fi
    say "removing configuration, gallery with every enrolled person, credentials and user"
    left=$(outside_secrets "$config"/*.toml)
    rm -rf "$config" "$state" /var/lib/edge-oneshot-web
    rm -rf /etc/systemd/system/edge-oneshot.service.d /etc/systemd/system/edge-oneshot@*.service.d /etc/systemd/system/edge-oneshot-web.service.d /etc/systemd/system/edge-oneshot-fleet.service.d
    rm -f /etc/credstore/edge-oneshot.* /etc/credstore.encrypted/edge-oneshot.*
    for file in $left; do
        [ ! -e "$file" ] || note "kept $file, which a configuration named: delete it if no other program needs it"
    done
    if getent passwd edge-oneshot-web >/dev/null; then userdel edge-oneshot-web; fi
    if getent passwd edge-oneshot >/dev/null; then userdel edge-oneshot; fi
    if getent group edge-oneshot >/dev/null; then groupdel edge-oneshot; fi
}

# attempt WHAT LOG FOLDER COMMAND...: runs the command; if it fails, shows the end of its output and says why.
attempt() {
    what=$1 log=$2 where=$3
    shift 3
    if "$@" >"$log" 2>&1; then return 0; fi
    tail -n 8 "$log" | sed 's/^/    /' >&2
    why=$(reason "$log" "$where") # not through a file: the disk may be full
    fail "$what: ${why%%
*}" "${why#*
}"
}

# switch LINK TARGET: replaces the link in one step, so that there is a whole program at any time.
switch() { ln -sfn "$2" "$1.new" && mv -T "$1.new" "$1"; }

# restart: starts every unit again with the program in use. False if one that ran before does not run now.
restart() {
    lost=''
    for unit in $(services); do
        ran=$(systemctl is-active "$unit" || true)
        if systemctl restart "$unit"; then note "started $unit"
        elif [ "$ran" = active ]; then lost="$lost $unit"
        else note "$unit does not start; read the reason in: journalctl -u $unit"; fi
    done
    [ -z "$lost" ]
}

[ "$(id -u)" = 0 ] || fail "installing a service needs root" "run: sudo $0"
if dpkg-query -W -f '${db:Status-Status}' edge-oneshot 2>/dev/null | grep -qx installed; then
    fail "the Debian package edge-oneshot is installed, which this script does not change" "use apt, or remove the package first: sudo apt remove edge-oneshot"
fi

if [ -n "$uninstall" ]; then
    remove_program
    say "done"
    exit 0
fi

if [ -n "$rollback" ]; then
    [ -x "$previous/bin/edge-oneshot" ] || fail "expected the program before the last upgrade in $previous, got none" "install the release that you want with this script, from its checkout"
    before=$(readlink "$current")
    switch "$current" "$(readlink "$previous")"
    switch "$previous" "$before"
    say "$("$link" --version) is in use"
    if running; then restart || fail "$lost does not start" "read the reason in: journalctl -u edge-oneshot. A gallery that a newer release has changed cannot be read by an older one: import an export"; fi
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
lock=$here/locks/$codename-$arch.txt
[ -f "$lock" ] || fail "expected Debian Bookworm or Trixie, or Raspberry Pi OS of that name, got $codename" "upgrade the system, or see docs/how-to/install.md for other systems"
if [ -n "$wheel" ]; then
    [ -f "$wheel" ] || fail "no wheel at $wheel" "check the path"
    wheel=$(realpath "$wheel")
else
    [ -f "$here/../pyproject.toml" ] || fail "expected a checkout in $(dirname "$here"), got none" "run the script from a checkout, or give a wheel with --wheel"
fi

# What an installation that was interrupted has left. Its own files are everything but the programs of the two links.
mkdir -p "$versions"
exec 9>"$prefix/lock"
flock -n 9 || fail "another installation is in progress" "wait until it is done"
for folder in "$versions"/*; do
    case $folder in
        "$(readlink -f "$current" || true)" | "$(readlink -f "$previous" || true)") ;;
        *) rm -rf "$folder" ;;
    esac
done
free=$(df -Pk "$prefix" | awk 'NR == 2 {printf "%d", $4 / 1024}')
[ "$free" -ge "$need_mb" ] || fail "$prefix: expected $need_mb MB of free disk, got $free MB" "free space, and run this again; what was installed before still works"
# In the versions, so that the next run removes it. Not in /tmp, which is memory on Trixie.
build=$(mktemp -d "$versions/$(date -u +%Y%m%d-%H%M%S).XXXXXX")
chmod 755 "$build"
work=$build/work
mkdir "$work"
export TMPDIR="$work"
trap '[ "$(readlink -f "$current" || true)" = "$build" ] || rm -rf "$build"' EXIT
trap 'exit 130' INT TERM HUP

# ---- Debian packages

export DEBIAN_FRONTEND=noninteractive
say "installing Debian packages"
attempt "completing what apt-get left undone" "$work/log" /var dpkg --configure -a
apt-get update -qq >"$work/log" 2>&1 || note "could not update the package lists; using the existing ones"
packages="python3 python3-venv $(awk -v release="$codename" '$1 == release {printf "%s ", $2}' "$here/locks/debian.txt")"
# The Python bindings of libcamera exist only as a Debian package, and fit only the Python of the system.
if apt-cache show --quiet=2 python3-picamera2 >/dev/null 2>&1; then
    packages="$packages python3-picamera2"
else
    note "this system has no package python3-picamera2: the Raspberry Pi camera (picamera2:) will not work"
fi
[ -z "$mosquitto" ] || packages="$packages mosquitto mosquitto-clients"
note "$packages"
# shellcheck disable=SC2086  # a list of words
attempt "installing Debian packages" "$work/log" /var apt-get install -y -qq --no-install-recommends $packages
version=$(python3 -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')

# ---- the program, beside the one in use

say "building the program in $build"
if [ -e "$current" ] && [ "$(cat "$current/python-version" 2>/dev/null)" != "$version" ]; then
    note "the Python of the system is now $version: the old program can no longer run"
fi
attempt "making the environment" "$work/log" "$prefix" python3 -m venv --system-site-packages "$build"
pip() { # pip WHAT ARGUMENTS...
    what=$1
    shift
    attempt "$what" "$work/log" "$prefix" "$build/bin/python3" -m pip install --disable-pip-version-check --no-input --no-deps --no-cache-dir --progress-bar=off "$@"
}
note "the packages of $lock"
pip "installing the Python packages" --require-hashes --only-binary=:all: -r "$lock"
if [ -z "$wheel" ]; then
    # A copy, so that the build leaves no files of root in the checkout.
    mkdir "$work/source"
    for part in pyproject.toml README.md LICENSE edge_oneshot; do
        cp -R "$here/../$part" "$work/source/"
    done
    pip "installing setuptools" --require-hashes --only-binary=:all: --target "$work/setuptools" -r "$here/locks/build.txt"
    attempt "building edge-oneshot" "$work/log" "$prefix" env -C "$work/source" PYTHONPATH="$work/setuptools" "$build/bin/python3" -c \
        'import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])' "$work"
    wheel=$(find "$work" -maxdepth 1 -name '*.whl')
fi
pip "installing edge-oneshot" "$wheel"
sed -e "s|@PREFIX@|$build|" -e "s|@PYTHON@|$version|" "$here/launcher.py" >"$build/bin/edge-oneshot"
chmod 755 "$build/bin/edge-oneshot"
echo install.sh >"$build/installed-by"
# Plug-ins lie outside, so that an upgrade keeps them.
echo /usr/local/lib/edge-oneshot/plug-ins >"$build/lib/python$version/site-packages/edge-oneshot-plug-ins.pth"
echo "$version" >"$build/python-version"
"$build/bin/edge-oneshot" config example >"$build/default.toml"

# ---- user, folders

say "creating the user edge-oneshot, $state and /run/edge-oneshot"
install -D -m 0644 "$here/sysusers.d/edge-oneshot.conf" /etc/sysusers.d/edge-oneshot.conf
install -D -m 0644 "$here/tmpfiles.d/edge-oneshot.conf" /etc/tmpfiles.d/edge-oneshot.conf
systemd-sysusers /etc/sysusers.d/edge-oneshot.conf
systemd-tmpfiles --create /etc/tmpfiles.d/edge-oneshot.conf

# ---- the new program takes over

say "testing the new program"
# As the service does it: not as root, and with a model whose result is known.
attempt "the new program fails its test; the old one stays in use" "$work/log" "$prefix" \
    setpriv --reuid=edge-oneshot --regid=edge-oneshot --clear-groups env HOME=/ "$build/bin/edge-oneshot" --config "$build/default.toml" model check
note "$(sed 's/.*: the model/the model/' "$work/log" | tail -n 1)"
rm -rf "$work"
mkdir "$work"
sync -f "$build"
replaced=$(readlink "$current" || true)
older=$(readlink "$previous" || true)
if [ -n "$replaced" ]; then switch "$previous" "$replaced"; fi
switch "$current" "$build"
ln -sfn "$current/bin/edge-oneshot" "$link.new" && mv -T "$link.new" "$link"
note "$("$link" --version)"

person=${SUDO_USER:-}
if [ -n "$person" ] && [ "$person" != root ]; then
    usermod -aG edge-oneshot "$person"
    note "$person is in the group edge-oneshot and needs no sudo after the next login"
fi

say "configuration $config/default.toml"
if [ -e "$config/default.toml" ]; then
    note "kept"
else
    # The URI of a camera may contain a password: readable by root and the group only.
    install -m 0640 -g edge-oneshot "$current/default.toml" "$config/default.toml"
    note "created, with every key at its default"
fi
# Before anyone is enrolled: what is stored about people is encrypted from the beginning. A gallery with people, wherever the
# configuration has it, stays as it is. If this script is killed here, its next run completes the sealing.
if setpriv --reuid=edge-oneshot --regid=edge-oneshot --clear-groups env HOME=/ "$link" --config "$config/default.toml" gallery seal --if-new >"$work/log" 2>&1; then
    while read -r line; do note "$line"; done <"$work/log"
else
    note "the gallery was not sealed: $(head -n 1 "$work/log"); remove the cause, then: sudo -u edge-oneshot edge-oneshot gallery seal"
fi
faulty=''
for file in "$config"/*.toml; do
    "$link" --config "$file" config check >/dev/null || faulty=yes
done
[ -z "$faulty" ] || note "correct the faults above: the service does not start with them"

# ---- the service

say "enabling the service"
for unit in edge-oneshot.service edge-oneshot@.service edge-oneshot-fleet.service; do
    install -m 0644 "$here/$unit" /etc/systemd/system/
done
systemctl enable --quiet edge-oneshot.service
if [ -n "$web" ]; then
    install -m 0644 "$here/edge-oneshot-web.service" /etc/systemd/system/
    systemctl enable --quiet edge-oneshot-web.service
fi
if running; then
    systemctl daemon-reload
    if [ -n "$start" ] && ! restart && [ -n "$replaced" ]; then
        switch "$current" "$replaced"
        if [ -n "$older" ]; then switch "$previous" "$older"; else rm -f "$previous"; fi
        failed=$lost
        restart || true
        fail "$failed ran before and does not start with the new program; the old one is in use again" "read the reason in: journalctl -u edge-oneshot"
    fi
else
    note "systemd is not running: the service starts at the next boot"
fi

# ---- what is not needed any more: programs before the previous one, and the layout of earlier installers

for folder in "$versions"/*; do
    case $folder in
        "$(readlink -f "$current")" | "$(readlink -f "$previous" || true)") ;;
        *) rm -rf "$folder" ;;
    esac
done
if [ -e "$prefix/pyvenv.cfg" ]; then
    note "removing the environment of an earlier installer"
    (cd "$prefix" && rm -rf bin include lib lib64 share pyvenv.cfg)
fi
rm -rf "$work"

say "done"
note "next: sudo edge-oneshot setup                finds camera and broker, enrolls the first person"
[ -z "$web" ] || note "sudo edge-oneshot web pair                   prints the code that connects a browser to the page"
note "sudo edge-oneshot doctor                     checks everything and gives the fix for each fault"
note "sudo edge-oneshot camera test --out a.jpg    writes a picture of the camera, with the faces found"
note "sudo edge-oneshot enroll --name Alice        enrolls the person in front of the camera"
