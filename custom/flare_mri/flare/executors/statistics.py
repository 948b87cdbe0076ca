# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's federated statistics at a hospital: the executor that counts and measures its data, before anyone trains."""

import hashlib
import random
import statistics
from collections.abc import Collection

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.statistics_spec import Bin, DataType, Feature, Histogram, HistogramType, Statistics
from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.app_common.executors.statistics.statistics_task_handler import StatisticsTaskHandler
from nvflare.app_common.filters.statistics_privacy_filter import StatisticsPrivacyFilter
from nvflare.app_common.statistics.histogram_bins_cleanser import HistogramBinsCleanser
from nvflare.app_common.statistics.min_count_cleanser import MinCountCleanser
from nvflare.app_common.statistics.min_max_cleanser import AddNoiseToMinMax
from nvflare.app_common.statistics.statistics_privacy_cleanser import StatisticsPrivacyCleanser
from nvflare.fuel.utils import fobs

from flare_mri.config.statistics import DATASET, INTENSITY, INTENSITY_BINS, INTENSITY_RANGE, StatisticsSettings
from flare_mri.datasets.statistics import PatientNumbers, read_patients
from flare_mri.errors import InputError
from flare_mri.flare.executors.base import RefusedError, SiteExecutor
from flare_mri.flare.executors.site import Site
from flare_mri.flare.statistics_message import TASKS, read_statistics
from flare_mri.methods import STATISTICS
from flare_mri.training import AbortedError

PRECISION = 4
"""Digits after the point, FLARE's default."""


class StatisticsExecutor(SiteExecutor):
    """Answers FLARE's statistics tasks with what the hospital's own settings let leave.

    FLARE's task handler asks :class:`PatientStatistics` for the numbers. Its privacy filter, with its three cleansers,
    is applied here, with ``statistics`` of the hospital's ``site.yaml``, and not as a filter of the job: what is held
    back is not the lead's to choose. Of a feature that too few patients have, their number is held back too.

    Args:
        job: name of the job.
        task: whose data, ``reconstruction`` or ``segmentation``; empty: of the first one that a site's format serves.
        require_site_config: refuse to fall back on the phantom where the site has no ``site.yaml``.
    """

    def __init__(self, job: str, task: str = "", require_site_config: bool = False):
        super().__init__(job, require_site_config)
        self.task = task
        self._handler: StatisticsTaskHandler | None = None

    def task_names(self) -> Collection[str]:
        """FLARE's one task of statistics, which is given twice."""
        return (StC.FED_STATS_TASK,)

    def carry_out(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Read all data at the first task, then answer."""
        site = self.open_site(fl_ctx)
        if refused := site.policy.refusals(STATISTICS, None) if site.policy else {}:
            raise RefusedError(self.say_refused(site, refused))
        if shareable.get(StC.STATISTICS_TASK_KEY) not in TASKS:
            raise InputError(f"site {site.config.site}: expected a task of FLARE's statistics, got another")
        if self._handler is None:
            self._handler = self._read(site, fl_ctx, abort_signal)
        result = self._handler.execute_task(task_name, shareable, fl_ctx, abort_signal)
        result.pop(StC.STATS_FEATURES, None)  # names of features of which nothing may be told
        content = {key: value for key, value in result.items() if key in (StC.STATISTICS_TASK_KEY, *TASKS)}
        return hold_back(DXO(DataKind.STATISTICS, content), site.config.site, site.config.statistics).to_shareable()

    def _read(self, site: Site, fl_ctx: FLContext, abort_signal: Signal) -> StatisticsTaskHandler:
        if site.notice:
            self.note(fl_ctx, site.notice, f"no site.yaml at {', '.join(map(str, site.looked))}")

        def show_progress(number: int, total: int) -> None:
            if abort_signal.triggered:
                raise AbortedError(f"site {site.config.site}: aborted after {number} of {total} scans")
            if number == total or number % max(1, total // 10) == 0:
                self.log_info(fl_ctx, f"site {site.config.site}: read {number} of {total} scans")

        handler = StatisticsTaskHandler("", PRECISION)
        handler.stats_generator = PatientStatistics(read_patients(site.config, self.task, show_progress))
        return handler


def hold_back(answer: DXO, site: str, settings: StatisticsSettings) -> DXO:
    """An answer after FLARE's privacy filter, and without the numbers of patients that are too few.

    Noise is drawn anew only for other data: who asks again gets the same, and has nothing to take a mean of.
    """
    cleansers: list[StatisticsPrivacyCleanser] = [
        MinCountCleanser(settings.min_count),
        _BinsCleanser(settings.max_bins_percent),
        AddNoiseToMinMax(settings.min_noise_level, settings.max_noise_level),
    ]
    task, _ = read_statistics(answer.data)
    before = random.getstate()
    random.seed(hashlib.sha256(answer.data[task]).digest())
    kept = StatisticsPrivacyFilter([]).filter_stats_statistics(answer, site, cleansers)
    random.setstate(before)
    assert kept is not None
    task, found = read_statistics(kept.data)
    few = {name for name, count in found[StC.STATS_COUNT][DATASET].items() if count < settings.min_count}
    left: dict[str, dict] = {}
    for statistic, sets in found.items():
        told = {name: value for name, value in sets[DATASET].items() if name not in few}
        left[statistic] = {DATASET: {name: value for name, value in told.items() if value is not None}}
    return DXO(DataKind.STATISTICS, {StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(left)})


class _BinsCleanser(HistogramBinsCleanser):
    """FLARE's, but for intensities, of which every patient is in nearly all bins."""

    def hist_bins_validate(self, client_name: str, statistics: dict) -> dict[str, dict[str, bool]]:
        valid = super().hist_bins_validate(client_name, statistics)
        return {name: {**features, INTENSITY: True} for name, features in valid.items()}


class PatientStatistics(Statistics):
    """Numbers of a site's patients, as FLARE's task handler asks for them: one dataset, of patients."""

    def __init__(self, numbers: PatientNumbers):
        super().__init__()
        self.numbers = numbers

    def features(self) -> dict[str, list[Feature]]:
        """All features that the site's data have."""
        return {DATASET: [Feature(name, DataType.FLOAT) for name in self.numbers.values]}

    def count(self, dataset_name: str, feature_name: str) -> int:
        """The number of patients that have it."""
        return len(self.numbers.values[feature_name])

    def failure_count(self, dataset_name: str, feature_name: str) -> int:
        """None: a scan that cannot be used stops the site before."""
        return 0

    def sum(self, dataset_name: str, feature_name: str) -> float:
        """Over patients."""
        return float(sum(self.numbers.values[feature_name]))

    def stddev(self, dataset_name: str, feature_name: str) -> float:
        """Over patients, of a sample; 0 of a single one."""
        values = self.numbers.values[feature_name]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def variance_with_mean(
        self, dataset_name: str, feature_name: str, global_mean: float, global_count: float
    ) -> float:
        """The site's part of the variance over all patients of all sites."""
        squares = sum((value - global_mean) ** 2 for value in self.numbers.values[feature_name])
        return float(squares / max(global_count - 1, 1))

    def min_value(self, dataset_name: str, feature_name: str) -> float:
        """The lowest, which leaves with noise alone."""
        return float(min(self.numbers.values[feature_name]))

    def max_value(self, dataset_name: str, feature_name: str) -> float:
        """The highest, which leaves with noise alone."""
        return float(max(self.numbers.values[feature_name]))

    def histogram(
        self, dataset_name: str, feature_name: str, num_of_bins: int, global_min_value: float, global_max_value: float
    ) -> Histogram:
        """Numbers of patients in bins of equal width; those beyond the ends are in the bins there.

        Of intensities, the patients' shares of voxels are added up, so that they too sum to the number of patients.

        Raises:
            InputError: intensities in other bins than those of every site.
        """
        ends = (float(global_min_value), float(global_max_value))
        if feature_name == INTENSITY:
            if (num_of_bins, ends) != (INTENSITY_BINS, INTENSITY_RANGE) or self.numbers.shares is None:
                raise InputError(f"{INTENSITY}: expected {INTENSITY_BINS} bins from {INTENSITY_RANGE}, got others")
            counts, edges = self.numbers.shares.sum(axis=0).round(PRECISION), np.linspace(*ends, num_of_bins + 1)
        else:
            counts, edges = np.histogram(np.clip(self.numbers.values[feature_name], *ends), num_of_bins, ends)
        lows, highs = edges[:-1].tolist(), edges[1:].tolist()
        bins = [Bin(*one) for one in zip(lows, highs, map(float, counts), strict=True)]
        return Histogram(HistogramType.STANDARD, bins)
