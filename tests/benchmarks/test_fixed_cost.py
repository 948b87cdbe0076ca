# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of what a job costs beside its rounds: where its times come from."""

import fixed_cost
import pytest

LOG = """site-1: phantom; 3 train, 3 validation, 3 test slices
2026-11-27 20:35:58,586 - INFO - Sending task check to ['site-1', 'site-2']
2026-11-27 20:38:50,242 - INFO - Sending task train to ['site-1', 'site-2']
2026-11-27 20:39:03,549 - INFO - Sending task train to ['site-1', 'site-2']
2026-11-27 20:39:14,026 - INFO - results of FedAvg: results.json
"""


def test_times_are_those_of_the_first_line_of_each_kind() -> None:
    found = fixed_cost.read_marks(LOG)
    assert found["until they train"] - found["until the sites are asked"] == pytest.approx(171.656, abs=1e-3)
    assert found["results"] - found["until they train"] == pytest.approx(23.784, abs=1e-3)
    with pytest.raises(SystemExit, match="no line 'results of'"):
        fixed_cost.read_marks(LOG.rpartition("2026")[0])
