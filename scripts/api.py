"""The page and a daemon, and schemathesis against its HTTP interface. scripts/api runs it."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",response_headers_conformance,ignored_auth,unsupported_method"


def wait_for(log: Path, pattern: str) -> re.Match[str]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (found := re.search(pattern, log.read_text())) is not None:
            return found
        time.sleep(0.2)
    raise SystemExit(f"no {pattern} in:\n{log.read_text()}")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("schemathesis", type=Path)
    own, further = options.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="eo-") as name:
        folder = Path(name)
        (pictures := folder / "pictures").mkdir()
        for number in range(360):  # an hour: the daemon ends with its camera
            (pictures / f"{number:03}.png").symlink_to(portrait())
        config = folder / "default.toml"
        camera = f'[camera]\nuri = "folder:{pictures}"\nfps = 0.1\n'
        config.write_text(
            f'[device]\nstate_dir = "{folder}"\n{camera}[decision]\ngone_after_s = 30.0\n[mqtt]\nenabled = false\n'
        )
        start = "from edge_oneshot.cli import main; main()"
        command = [sys.executable, "-c", start, "-c", str(config)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}

        def edge(*words: str) -> str:
            return subprocess.run(
                [*command, *words], env=environment, capture_output=True, text=True, check=True
            ).stdout

        edge("enroll", "--name", "Eileen", "--image", str(portrait()))
        token, log = edge("web", "token", "schemathesis").strip(), folder / "log"
        with log.open("w") as file:
            page = subprocess.Popen([*command, "web", "run", "--port", "0"], env=environment, stdout=file, stderr=file)
            daemon = subprocess.Popen([*command, "run"], env=environment, stdout=file, stderr=file)
        try:
            url = wait_for(log, r"http://127\.0\.0\.1:\d+")[0]
            wait_for(log, "running: 1 people")
            request = urllib.request.Request(f"{url}/api/openapi.json", headers={"Authorization": f"Bearer {token}"})
            (description := folder / "openapi.json").write_bytes(urllib.request.urlopen(request, timeout=30).read())
            words = [own.schemathesis, "run", description, "--url", url, "--header", f"Authorization: Bearer {token}"]
            words += ["--checks", CHECKS, "--rate-limit", "100/m", "--max-examples", "50", *further]
            done = subprocess.run(list(map(str, words)), cwd=folder, check=False)
            alive = page.poll() is None
            print(f"the page {'still runs' if alive else 'has ended'}; its log:\n{log.read_text()[-1500:]}")
            return done.returncode or (not alive) or ("Traceback" in log.read_text())
        finally:
            for process in (page, daemon):
                process.kill()
                process.wait()


def portrait() -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


if __name__ == "__main__":
    sys.exit(main())
