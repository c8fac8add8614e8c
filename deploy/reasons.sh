# Why apt-get or pip failed, in words, and which secrets a purge leaves. Sourced by install.sh and scripts/package; not run.

# outside_secrets FILE...: the files with a secret that these configurations name by a whole path, one a line.
outside_secrets() {
    sed -n 's/^[[:space:]]*\(password_file\|key_file\|sign_key_file\)[[:space:]]*=[[:space:]]*"\(\/[^"]*\)".*/\2/p' "$@" 2>/dev/null | sort -u
}

# reason LOG FOLDER: two lines, what is wrong and the fix, from the output in LOG. FOLDER: where it wrote.
# The disk comes first: a full disk also looks like a broken download.
reason() {
    free=$(df -Pk "$2" 2>/dev/null | awk 'NR == 2 {printf "%d", $4 / 1024}')
    if grep -qiE 'No space left on device|Errno 28|enough free space|Disk quota exceeded' "$1"; then
        echo "the disk is full (${free:-?} MB free at $2)"
        echo "free space, and run this again; what was installed before still works"
    elif grep -qiE 'Read-only file system|Errno 30' "$1"; then
        echo "the file system of $2 is read-only"
        echo "read the reason in dmesg (a worn-out SD card is a common one), mount it read-write, and run this again"
    elif grep -qE 'DO NOT MATCH THE HASHES|Hash Sum mismatch|hashes are required' "$1"; then
        echo "a downloaded file does not have the hash that this release expects"
        echo "run this again; if it happens again, do not install these files, and report it"
    elif grep -qE 'Could not get lock|is another process using it' "$1"; then
        echo "another program is installing packages"
        echo "wait until it is done, and run this again"
    elif grep -qE 'dpkg was interrupted|Unmet dependencies|unmet dependencies' "$1"; then
        echo "an earlier installation of Debian packages was interrupted"
        echo "sudo dpkg --configure -a && sudo apt-get --fix-broken install, then run this again"
    elif grep -qiE 'resolve|resolution|unreachable|timed? ?out|connection|proxy|SSL|certificate|Failed to fetch' "$1"; then
        echo "the package archive or index cannot be reached"
        echo "check network, time and proxy of this device, and run this again"
    elif grep -qE 'No matching distribution|Could not find a version|Unable to locate package' "$1"; then
        echo "the package archive or index does not have a package that is needed"
        echo "check the sources of apt and pip on this device, and run this again"
    else
        echo "it ended with an error"
        echo "read the message above, and run this again"
    fi
}
