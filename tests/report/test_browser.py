# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""All pages in a browser: nothing that axe-core finds wrong, as wide as a phone, numbers that can be downloaded.

They need Debian's package ``chromium``; Playwright's own browsers are not used.
"""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases import label_of, write_case
from flare_mri.program.main import main
from flare_mri.program.site_check import TO_CORRECT
from flare_mri.report.examples import find_examples
from flare_mri.report.html import write_report

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt install chromium")

PHONE = {"width": 360, "height": 740}
PAGES = ("reconstruction", "segmentation", "site check")
ORGANS = {"organs": np.array(["liver", "spleen"]), "colours": np.array(["", ""])}
SCORES = {"score": np.array([0.5, 0.75]), "rank": np.array([1, 2]), "ranked": np.array([2, 2])}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # a test may run as root and in a container, where Chromium's own sandbox cannot
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory,
    shared_results: dict[str, Any],
    shared_segmentation: dict[str, Any],
    examples: Callable[..., Path],
) -> dict[str, Path]:
    """A page of each kind, with every part that it may have."""
    root = tmp_path_factory.mktemp("pages")
    stores, results = root / "stores", copy.deepcopy(shared_results)
    for method in results["methods"].values():
        method["sites"]["site-2"] |= {"l1_espirit": {"psnr": 24.0}, "note": "a note"}
        for site in method["sites"]:
            examples(stores / method["job"] / site / "examples.npz", **SCORES)
    examples(stores / "fedmri" / "site-2" / "examples-l1.npz", **SCORES, method=np.array("l1-ESPIRiT"))
    for method in shared_segmentation["methods"].values():
        examples(stores / method["job"] / "outside" / "examples.npz", labels=True, **SCORES, **ORGANS)
    for name, content in (("reconstruction", results), ("segmentation", shared_segmentation)):
        volumes = {
            row: {site: {str(n): entry["test"] for n in range(2)} for site, entry in method["sites"].items()}
            for row, method in content["methods"].items()
        }
        write_report(content, find_examples(content, [stores]), root / f"{name}.html", examples=1, volumes=volumes)
    for number in range(3):
        write_case(root / "scans", f"Case{number:02d}", label_of(1))
    for ending in (".nii.gz", "_segmentation.nii.gz"):  # twice the same scan, which is to be corrected
        shutil.copy(root / "scans" / f"Case01{ending}", root / "scans" / f"Case<b>{ending}")
    look = ["--page", str(root / "look")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        assert main(["site", "init", str(root / "scans"), "--out", str(root / "site.yaml")]) == 0
        assert main(["site", "check", str(root / "site.yaml"), *look]) == TO_CORRECT
    return {name: root / f"{name}.html" for name in PAGES[:2]} | {"site check": root / "look" / "index.html"}


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_a_phone_and_nothing_is_wider(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page, options=rules).response
        told = [(one["impact"], one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
        assert not told and found["passes"], scheme
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.locator(".scroll").evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).length")
    assert wide, "tables are wider than a phone, within their own frames"
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_numbers_are_downloaded(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = browser.new_page()
    page.goto(pages[name].as_uri())
    found = {}
    for ending in ("csv", "json"):
        with page.expect_download() as download:
            page.locator(f"a[download$='.{ending}']").first.click()
        found[ending] = Path(download.value.path()).read_text("utf-8-sig")
    rows = json.loads(found["json"])
    assert len(rows) > 3 and found["csv"].splitlines()[0].split(",")[:2] == list(rows[0])[:2]
    page.close()
