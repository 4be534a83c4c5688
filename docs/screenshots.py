"""Makes the pictures of the report: docs/report.png and docs/report-dark.png.

    python docs/screenshots.py

audits the demo, writes its report and takes a picture of the page, light and dark. It needs
selenium, Pillow, Chromium and its driver.
"""

from __future__ import annotations

import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

import geom

WIDTH, HEIGHT = 1300, 1760

PICTURES = {"light": "report.png", "dark": "report-dark.png"}
"""The colour schemes, and the file of each."""


def main() -> None:
    """Audit the demo, and take both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "demo.html"
        with geom.run("demo", tokens="all") as run:
            geom.export(run, "html", page)
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("headless", "no-sandbox", "hide-scrollbars"):
            options.add_argument(f"--{flag}")
        browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
        browser.implicitly_wait(30)
        try:
            for scheme, name in PICTURES.items():
                take(browser, page, scheme, Path(__file__).with_name(name))
        finally:
            browser.quit()


def take(browser: Chrome, page: Path, scheme: str, out: Path) -> None:
    """Take a picture of the head of a page in a colour scheme."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    browser.find_element(By.CLASS_NAME, "main-svg")
    picture = Image.open(BytesIO(browser.get_screenshot_as_png()))
    picture.convert("RGB").quantize(128).save(out, optimize=True)


if __name__ == "__main__":
    main()
