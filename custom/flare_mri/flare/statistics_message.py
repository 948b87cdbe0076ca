# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Answers to the tasks of FLARE's federated statistics: what in them may leave a site, and be taken by the server."""

import math
from collections.abc import Mapping
from typing import Any

from nvflare.app_common.abstract.statistics_spec import Bin, Histogram, HistogramType
from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.app_common.statistics.statisitcs_objects_decomposer import fobs_registration
from nvflare.fuel.utils import fobs

from flare_mri.config.statistics import DATASET, FEATURE, MOST_BINS

TASKS = (StC.STATS_1st_STATISTICS, StC.STATS_2nd_STATISTICS)
STATISTICS = (
    StC.STATS_COUNT,
    StC.STATS_FAILURE_COUNT,
    StC.STATS_SUM,
    StC.STATS_MEAN,
    StC.STATS_STDDEV,
    StC.STATS_VAR,
    StC.STATS_MIN,
    StC.STATS_MAX,
    StC.STATS_HISTOGRAM,
)
_MOST_FEATURES, _MOST_BYTES, _MOST = 256, 2**20, 1e15


def read_statistics(data: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, dict[str, Any]]]]:
    """The task and the statistics of an answer, after :func:`problem_in_statistics`: statistic, dataset, feature."""
    task = data[StC.STATISTICS_TASK_KEY]
    return task, fobs.loads(data[task])


def problem_in_statistics(data: Any) -> str:
    """The first reason why statistics may not leave a site, nor be taken by the server; empty where there is none."""
    if not isinstance(data, Mapping):
        return f"statistics are a {type(data).__name__}, expected names and values"
    task = data.get(StC.STATISTICS_TASK_KEY)
    if task not in TASKS or set(data) != {StC.STATISTICS_TASK_KEY, task}:
        return f"statistics of {sorted(map(str, data))!r:.200}, expected those of one of FLARE's tasks alone"
    content = data[task]
    if not isinstance(content, bytes) or len(content) > _MOST_BYTES:
        return f"statistics are a {type(content).__name__}, expected at most {_MOST_BYTES} bytes"
    fobs_registration()
    try:
        found = fobs.loads(content)
    except Exception as error:  # FLARE's and msgpack's, of many kinds
        return f"statistics cannot be read ({type(error).__name__})"
    if fobs.dumps(found) != content:
        return "statistics hold more than can be read of them"
    return _problem_in_values(found)


def _problem_in_values(found: Any) -> str:
    if not isinstance(found, dict) or any(name not in STATISTICS for name in found):
        return f"statistics {sorted(map(str, found))!r:.200}, expected some of {', '.join(STATISTICS)}"
    if any(not isinstance(sets, dict) or set(sets) - {DATASET} for sets in found.values()):
        return f"statistics of other data than {DATASET}"
    counts = found.get(StC.STATS_COUNT, {}).get(DATASET, {})
    for statistic, sets in found.items():
        features = sets.get(DATASET, {})
        if not isinstance(features, dict) or len(features) > _MOST_FEATURES:
            return f"{statistic}: expected at most {_MOST_FEATURES} features"
        for name, value in features.items():
            if not isinstance(name, str) or not FEATURE.match(name):
                return f"{statistic} of {name!r:.80} is not listed"
            if name not in counts:
                return f"{statistic} of {name} without the number of patients"
            fits = _is_histogram(value) if statistic == StC.STATS_HISTOGRAM else _is_number(value)
            if not fits:
                return f"{statistic} of {name} is no {'histogram' if statistic == StC.STATS_HISTOGRAM else 'number'}"
    return ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _MOST and math.isfinite(value)


def _is_histogram(value: Any) -> bool:
    return (
        isinstance(value, Histogram)
        and value.hist_type == HistogramType.STANDARD
        and value.hist_name is None
        and isinstance(value.bins, list)
        and len(value.bins) <= MOST_BINS
        and all(isinstance(one, Bin) and all(map(_is_number, one)) for one in value.bins)
    )
