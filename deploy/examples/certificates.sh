#!/bin/sh
# Creates a certificate authority, a certificate for the broker, and one for each device.
#   certificates.sh FOLDER BROKER-HOST-NAME [DEVICE ...]
# Then move ca.key to a safe place away from the broker. A device needs ca.crt and its own .crt and .key.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 FOLDER BROKER-HOST-NAME [DEVICE ...]" >&2; exit 2; }
folder=$1 host=$2
shift 2
umask 077
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca.crt ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout ca.key -out ca.crt \
        -subj "/CN=edge-oneshot authority" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
fi

# issue NAME COMMON-NAME EXTENSIONS
issue() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null
    printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n%s\n' "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.ext"
    echo "$folder/$1.crt"
}

case $host in
    *[!0-9.]*) names="DNS:$host" ;;
    *) names="IP:$host" ;;
esac
issue broker "$host" "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=%s' "$names")"
for device in "$@"; do
    issue "$device" "$device" "extendedKeyUsage=clientAuth"
done
chmod 644 ./*.crt
