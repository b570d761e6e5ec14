"""Headless Chromium for the tests of the page; they skip, with the reason, where it is missing."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Watch:
    """What a page said and asked for while it was open."""

    folder: Path
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        inside = (self.folder.resolve().as_uri() + "/", "data:")
        return self.said + [f"asked for {url}" for url in self.asked if not url.startswith(inside)]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install 'rcm-bench[browser]'"
    )
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on the PATH nor in $CHROMIUM: apt-get install chromium")
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a report; when the test ends, the page must have said nothing and asked nobody."""
    opened: list[tuple[Any, Watch]] = []

    def go(path: Path, fragment: str = "", **options: Any) -> Any:
        options = {"viewport": {"width": 1440, "height": 1000}} | options
        tab = chromium.new_context(**options).new_page()
        watch = Watch(path.parent)
        tab.on("console", lambda message: watch.said.append(message.text))
        tab.on("pageerror", lambda error: watch.said.append(str(error)))
        tab.on("request", lambda request: watch.asked.append(request.url))
        opened.append((tab, watch))
        tab.goto(path.resolve().as_uri() + fragment)
        if options.get("java_script_enabled", True):
            tab.wait_for_selector("html[data-ready]", state="attached")
        tab.watch = watch
        return tab

    yield go
    for tab, watch in opened:
        tab.context.close()
        assert not watch.faults(), watch.faults()
