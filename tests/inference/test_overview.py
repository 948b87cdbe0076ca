# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
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
