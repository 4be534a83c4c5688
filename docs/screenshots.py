"""Makes the pictures of a report, light and dark.

    python docs/screenshots.py

audits the demo, writes its report and takes the pictures of `docs/report.md`.

    python docs/screenshots.py PAGE.html NAME

takes those of any report: ``NAME.png`` shows its verdicts and tokens, ``NAME-vocabulary.png`` the
pictures that it draws, ``NAME-dark.png`` and ``NAME-vocabulary-dark.png`` the same on a dark page.
It needs selenium, Pillow, Chromium and its driver.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

import geom

WIDTH, HEIGHT = 1040, 900
"""The size of the window: two pictures fit side by side, and can be read on a page of the docs."""

PARTS = {"": ("body", "#tokens"), "-vocabulary": ("#pictures", "#pictures")}
"""The parts of a report: in the file's name, and the elements at whose top and bottom they end."""

SCHEMES = {"light": "", "dark": "-dark"}
"""The colour schemes, and how the names of their files end."""

MARGIN = 20

FLAGS = (
    "--headless=new --no-sandbox --hide-scrollbars --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --enable-unsafe-swiftshader"
)


def main(arguments: list[str]) -> None:
    """Take the pictures of a page, or of the report on the demo."""
    if arguments:
        page, name = map(Path, arguments)
        take(page, name)
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "demo.html"
        with geom.run("demo", tokens="all") as run:
            geom.export(run, "html", page)
        take(page, Path(__file__).with_name("report"))


def take(page: Path, name: Path) -> None:
    """Take a picture of each part of a report in each colour scheme."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        for scheme, end in SCHEMES.items():
            show(browser, page, scheme)
            for part, between in PARTS.items():
                keep(shot(browser, *between), name.with_name(f"{name.name}{part}{end}.png"))
    finally:
        browser.quit()


def show(browser: Chrome, page: Path, scheme: str) -> None:
    """Open a page in a colour scheme, and wait until everything is drawn."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.absolute().as_uri())
    drawn = "return 'ready' in document.documentElement.dataset"
    WebDriverWait(browser, 120).until(lambda _: browser.execute_script(drawn))


def shot(browser: Chrome, first: str, last: str) -> Image.Image:
    """Return a picture of a page from the top of an element to the bottom of another."""
    edge = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]]"
    top = max(0.0, browser.execute_script(edge, first, "top") - MARGIN)
    bottom = browser.execute_script(edge, last, "bottom") + MARGIN
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top, "scale": 1}
    found = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    return Image.open(io.BytesIO(base64.b64decode(found["data"])))


def keep(picture: Image.Image, file: Path) -> None:
    """Write a picture in 96 colours, the rare ones too, such as that of two red marks."""
    few = picture.convert("RGB").quantize(96, Image.Quantize.MAXCOVERAGE)
    few.save(file, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
