# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The curve of a predicted Dice: found again, and never trusted from a file."""

import numpy as np
import pytest

from flare_mri.errors import InputError
from flare_mri.inference.calibration import LEAST_VOLUMES, Calibration


def test_a_curve_is_found_again() -> None:
    true = Calibration(0.87, 0.8, 30.0, 0.65)
    agreements = np.linspace(0.3, 1, 20)
    fitted = Calibration.fit(agreements, [true.predict(a) for a in agreements], 0.65)
    assert [fitted.predict(a) for a in agreements] == pytest.approx([true.predict(a) for a in agreements], abs=0.02)
    assert Calibration.read(fitted.as_dict()) == fitted and fitted.predict(1.0) == pytest.approx(fitted.top)
    assert fitted.predict(0.0) == 0


GOOD = {"top": 0.9, "middle": 0.8, "steepness": 30.0, "threshold": 0.7}


@pytest.mark.parametrize("value", [{}, None, 3, GOOD | {"threshold": True}, GOOD | {"more": 1.0}, {"top": 0.9}])
def test_a_calibration_of_a_file_is_not_trusted(value: object) -> None:
    with pytest.raises(InputError, match="calibration: "):
        Calibration.read(value)


@pytest.mark.parametrize(
    ("key", "value"), [("top", 0), ("top", 1.1), ("steepness", -1.0), ("middle", float("nan")), ("middle", "0.5")]
)
def test_a_calibration_out_of_range(key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"calibration: {key}: expected a number from"):
        Calibration.read(GOOD | {key: value})


def test_too_little_to_fit_is_told() -> None:
    with pytest.raises(InputError, match=f"at least {LEAST_VOLUMES} volumes"):
        Calibration.fit([0.5], [0.5])
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        Calibration.fit([2.0] * LEAST_VOLUMES, [0.5] * LEAST_VOLUMES)
