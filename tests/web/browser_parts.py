"""A real browser: Debian's Chromium by Selenium, with axe-core from npm. Whatever is missing is a reason to skip."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pictures import CACHE
from PIL import Image
from waiting import wait_until

AXE = CACHE / "axe" / "node_modules" / "axe-core" / "axe.min.js"
KEPT_COLOURS = [*bytes.fromhex("2fd39a"), *bytes.fromhex("ffd21f"), *bytes.fromhex("ff4d6d")]  # #boxes in style.css
SCREENSHOTS = os.environ.get("EDGE_ONESHOT_SCREENSHOTS")  # a folder, to make those of the documentation


def missing() -> str:
    """What this machine lacks; "" if nothing."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {package}"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install selenium"
    return ""


def axe_source() -> str:
    """The source of axe-core, fetched once by npm into .cache; "" if that fails."""
    if not AXE.exists():
        if shutil.which("npm") is None:
            return ""
        folder = AXE.parents[2]
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"]
        subprocess.run(command, capture_output=True, timeout=120, check=False)
    return AXE.read_text(encoding="utf-8") if AXE.exists() else ""


def smaller(image: Image.Image) -> Image.Image:
    """The picture in 256 colours, among them those of the legend, which cover too little to be chosen."""
    colours = 256 - len(KEPT_COLOURS) // 3
    holder = Image.new("P", (1, 1))
    holder.putpalette([*(image.quantize(colours).getpalette() or [])[: 3 * colours], *KEPT_COLOURS])
    return image.quantize(palette=holder, dither=Image.Dither.NONE)


class Chromium:
    """A browser window without a screen. `check` collects what went wrong on the page that it shows."""

    def __init__(self, profile: Path, address: str, axe: str) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        # Nothing that a browser does by itself in the background.
        for switch in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
        ):
            options.add_argument(switch)
        options.add_argument(f"--user-data-dir={profile}")
        options.add_argument("--force-device-scale-factor=1")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})  # type: ignore[no-untyped-call]
        service = webdriver.ChromeService(
            shutil.which("chromedriver"), env={**os.environ, "XDG_CACHE_HOME": str(profile)}
        )
        self.driver = webdriver.Chrome(options=options, service=service)
        self.address, self._axe = address, axe
        self.faults: list[str] = []  # serious faults of axe, refusals of the policy, errors of the console
        self.size(1000, 760)

    def size(self, width: int, height: int) -> None:
        """The size of the page itself, also below the least width of a window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            element = self.one(f"#{name}")
            element.clear()
            element.send_keys(value)

    def press(self, text: str) -> None:
        """Click the button or link with this text and wait for the next page."""
        before = self.one("html").id
        found = [e for e in self.all("button, a") if e.text.strip() == text]
        assert found, f"no {text!r} in: {self.text}"
        found[0].click()
        wait_until(lambda: self._loaded(before), f"the page after {text!r}")

    def _loaded(self, before: str) -> bool:
        from selenium.common.exceptions import WebDriverException

        try:
            state = self.driver.execute_script("return document.readyState")
            return bool(state == "complete" and self.one("html").id != before)
        except WebDriverException:
            return False

    @property
    def text(self) -> str:
        return str(self.one("body").text)

    def sees(self, text: str, timeout_s: float = 20.0) -> None:
        wait_until(lambda: text in self.text, f"{text!r}; the page: {self.text}", timeout_s)

    def check(self, what: str, picture: bool = False) -> None:
        """Look for faults on this page; keep its picture for the documentation."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING") and "responded with a status of" not in entry["message"]:
                self.faults.append(f"{what}: {entry['message']}")
        if self._axe:
            self.driver.execute_script(self._axe)
            run = "axe.run({resultTypes: ['violations']}).then(r => arguments[arguments.length - 1](r.violations))"
            for found in self.driver.execute_async_script(run):
                if found["impact"] in ("serious", "critical"):
                    self.faults.append(f"{what}: {found['id']}: {[n['html'][:200] for n in found['nodes']]}")
        if picture and SCREENSHOTS:
            data = self.driver.get_screenshot_as_png()
            image = smaller(Image.open(io.BytesIO(data)).convert("RGB"))
            image.save(Path(SCREENSHOTS) / f"web-{what}.png", optimize=True)

    def close(self) -> None:
        self.driver.quit()
