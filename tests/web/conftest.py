"""A site with one camera; its daemon runs only where a test asks for it. scrypt is cheap here, except where it is tested."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from web_parts import Browser, DaemonThread, make_site

from edge_oneshot.cameras.decoder import close_idle
from edge_oneshot.config import CameraConfig, Config, DeviceConfig, ModelConfig
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.web import accounts
from edge_oneshot.web.site import Site


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "COST", {"n": 16, "r": 8, "p": 1})


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short path: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="eo-") as folder:
        yield Path(folder)


@pytest.fixture
def config(short_path: Path) -> Config:
    camera = CameraConfig(uri="rtsp://user:secret@camera/1")
    return Config(
        device=DeviceConfig(name="Front door", state_dir=str(short_path)), camera=camera, model=ModelConfig(threads=1)
    )


@pytest.fixture
def site(config: Config, short_path: Path) -> Site:
    return make_site(short_path, config)


@pytest.fixture
def browser(site: Site) -> Iterator[Browser]:
    opened = Browser(site)
    yield opened
    opened.close()


@pytest.fixture
def stranger(site: Site) -> Iterator[Browser]:
    opened = Browser(site)
    yield opened
    opened.close()


@pytest.fixture
def owner(browser: Browser) -> Browser:
    browser.pair()
    return browser


@pytest.fixture
def viewer(site: Site, owner: Browser) -> Iterator[Browser]:
    opened = Browser(site)
    opened.pair("victor", "viewer")
    yield opened
    opened.close()


@pytest.fixture
def daemon(config: Config, pipeline: Pipeline) -> Iterator[DaemonThread]:
    thread = DaemonThread(replace(config), pipeline)
    yield thread
    thread.stop()
    close_idle()
