#!@PREFIX@/bin/python3
"""Starts edge-oneshot. deploy/install.sh and scripts/package put this file into the environment of the program."""

import sys

INSTALLED_FOR = "@PYTHON@"

if __name__ == "__main__":
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if found != INSTALLED_FOR:
        sys.stderr.write(
            f"error: edge-oneshot was installed for Python {INSTALLED_FOR}, and this system now has Python {found}\n"
            "fix: install it again, as you did before: sudo deploy/install.sh, or sudo apt install --reinstall edge-oneshot\n"
        )
        sys.exit(78)  # systemd does not restart it: only an installation helps
    from edge_oneshot.cli import main

    main()
