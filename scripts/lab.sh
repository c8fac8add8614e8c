# Shared by deploy-lab and package-lab: a system with Debian, its files and its container. Sourced, not run. Uses $here.

# prepare SUITE FOLDER: sets $dir and $base, and makes the base system once.
prepare() {
    [ "$(id -u)" = 0 ] || { echo "debootstrap and systemd-nspawn need root: sudo $0 $*" >&2; exit 1; }
    for tool in debootstrap systemd-nspawn nsenter; do
        command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install debootstrap systemd-container util-linux" >&2; exit 1; }
    done
    python=${PYTHON:-python3}
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    base=$dir/base-$1
    if [ ! -e "$base.done" ]; then
        rm -rf "$base"
        debootstrap --variant=minbase --include=ca-certificates,dbus,systemd,systemd-sysv,python3,python3-venv,python3-click,python3-cryptography,python3-numpy,python3-pil,python3-paho-mqtt,mosquitto,mosquitto-clients \
            "$1" "$base" >"$base.log"
        touch "$base.done"
    fi
}

# new_root FOLDER: a copy of the base.
new_root() {
    rm -rf "$1"
    cp -a --reflink=auto "$base" "$1"
    printf '127.0.0.1 localhost\n' >"$1/etc/hosts"
    cp -L /etc/resolv.conf "$1/etc/resolv.conf"
}

# pictures FOLDER: one portrait, and five minutes of it at two frames a second.
pictures() {
    mkdir -p "$1"
    "$python" - "$1" <<'END'
import sys
from pathlib import Path

import skimage
from PIL import Image

face = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
face.save(f"{sys.argv[1]}/collins.png")
for seen in range(600):
    turned = face.rotate(seen % 7 - 3, resample=Image.Resampling.BILINEAR)
    turned.save(f"{sys.argv[1]}/{seen:04}.jpg", quality=85)
END
}

# boot FOLDER: starts its systemd in a container, and sets $leader, the process of its init.
boot() {
    # The container shares the network, so that the package lists come from the same place as for the base system.
    UNIFIED_CGROUP_HIERARCHY=1 systemd-nspawn --quiet --boot --directory="$1" --register=no --keep-unit --console=read-only \
        --system-call-filter='adjtimex clock_adjtime' --set-credential=edge-oneshot.lab.mqtt-password:given </dev/null >"$1.console" 2>&1 &
    nspawn=$!
    leader=''
    # Killing the first process ends all others. The system is thrown away, so it need not shut down cleanly.
    trap 'kill -KILL $leader 2>/dev/null || true; kill $nspawn 2>/dev/null || true; wait $nspawn 2>/dev/null || true' EXIT
    for _ in $(seq 120); do
        leader=$(pgrep -P "$nspawn" | head -n 1)
        [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && break
        sleep 1
    done
}
