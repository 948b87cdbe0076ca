# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from flare_mri.inference.overview import MOST_SCANS, overview
from flare_mri.report.colours import PREDICTION_COLOUR


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def outlined(content: bytes) -> int:
    """Pixels of the outline's colour."""
    colour = [int(PREDICTION_COLOUR[at : at + 2], 16) for at in (1, 3, 5)]
    return int((np.abs(picture(content) - colour).max(2) < 8).sum())


@pytest.mark.parametrize("count", [1, 3, MOST_SCANS + 5])
def test_every_scan_that_has_an_organ_has_an_outline(count: int) -> None:
    image = np.random.default_rng(0).random((24, 32))
    label = np.zeros((24, 32), np.uint8)
    empty = overview(
        {f"scan-{i}": {"input": image, "output": label} for i in range(count)}, colours={"organ": PREDICTION_COLOUR}
    )
    label[:10, 8:20] = 1  # at the image's border
    marked = overview(
        {f"scan-{i}": {"input": image, "output": label} for i in range(count)}, colours={"organ": PREDICTION_COLOUR}
    )
    assert outlined(empty) == 0 and outlined(marked) > 100 * min(count, MOST_SCANS)


@pytest.mark.parametrize(("keys", "panels"), [(("input", "output"), 2), (("input", "output", "target"), 4)])
def test_reconstructions_have_a_row_each(keys: tuple[str, ...], panels: int) -> None:
    random = np.random.default_rng(0)
    scans = {name: {key: random.random((16, 16)) for key in keys} for name in ("a", "b" * 200)}
    height, width = picture(overview(scans)).shape[:2]
    assert width / height == pytest.approx(panels / 2, rel=0.01)


@pytest.mark.parametrize("colours", [{}, {"organ": PREDICTION_COLOUR}])
def test_a_single_scan_is_large_and_has_its_title_and_slice(colours: dict[str, str], monkeypatch) -> None:
    image, told = np.random.default_rng(0).random((16, 16)), []
    monkeypatch.setattr(Text, "draw", lambda self, *_: told.append(self.get_text()))
    uid = "1.3.6.1.4.1.14519.5.2.1.4429.7055.149455479236394071679725178532"
    scans = {uid: {"input": image, "output": (image > 0.5).astype(np.uint8)}}
    content = overview(scans, colours, titles={uid: ("PGBM-003, T2_reg", "slice 8 of 14")})
    assert picture(content).shape[1] >= 600 and "PGBM-003, T2_reg\nslice 8 of 14" in told
    told.clear()
    overview(scans, colours, titles={uid: ("", "slice 8 of 14")})
    assert any(text.replace("\n", "").endswith(uid[-40:] + "slice 8 of 14") for text in told)
