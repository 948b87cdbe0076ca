# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's federated statistics of sites in one process: the numbers, what is held back, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.statistics_spec import Bin, Histogram, HistogramType, StatisticConfig
from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.fuel.utils import fobs

from cases import label_of, write_case
from federation import Federation, build, context
from flare_mri.config.statistics import DATASET, StatisticsFile
from flare_mri.datasets.statistics import read_patients
from flare_mri.flare.executors.site import open_site
from flare_mri.flare.recipes import SiteStatisticsRecipe
from flare_mri.flare.statistics_message import problem_in_statistics, read_statistics

HISTOGRAM = StC.STATS_HISTOGRAM
SITE_YAML = "data: {{format: prostate, root: {root}}}\nstatistics: {settings}\n"
TASK = StC.FED_STATS_TASK


def settle(root: Path, site: str, cases: int, settings: str) -> None:
    """A site with cases whose labels differ in size."""
    (root / site / "local").mkdir(parents=True)
    for number in range(cases):
        label = label_of(1)
        label[2 : 4 + number, 6:12, 1:4] = 1
        write_case(root / site / "data", f"{site}Case{number:02d}", label)
    (root / site / "local" / "site.yaml").write_text(SITE_YAML.format(root=root / site / "data", settings=settings))


class Statistics(Federation):
    """Runs FLARE's controller of statistics over the sites: transport and scheduling are left out."""

    spoil: Any = None

    def run(self) -> dict[str, Any]:
        controller = build(self._server["workflows"][0])
        fl_ctx = context("server", "job", self.root)
        run_dir = self.root / "server"
        run_dir.mkdir()
        workspace = SimpleNamespace(get_run_dir=lambda job: str(run_dir))
        engine = SimpleNamespace(
            get_clients=lambda: self.sites, get_workspace=lambda: workspace, fire_event=lambda *_: None
        )
        fl_ctx.get_engine = lambda: engine
        controller.system_panic = lambda reason, fl_ctx: self.panics.append(reason)
        controller.result_wait_timeout = 0
        controller.broadcast_and_wait = self._broadcast_statistics
        controller.start_controller(fl_ctx)
        controller.control_flow(Signal(), fl_ctx)
        path = run_dir / "statistics.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _broadcast_statistics(self, task: Any, fl_ctx: Any, **waiting: Any) -> None:
        task.data[StC.STATISTICS_TASK_KEY] = task.props[StC.STATISTICS_TASK_KEY]
        for site in self.sites:
            given = fobs.dumps(task.data)
            reply = self._execute(site, TASK, fobs.loads(given))
            self.wire.append((site, TASK, given, fobs.dumps(reply)))
            if self.spoil and site == self.spoil[0]:
                reply = self.spoil[1](reply)
            task.result_received_cb(SimpleNamespace(client=SimpleNamespace(name=site), task=task, result=reply), fl_ctx)


def ignore(number: int, total: int) -> None:
    """Progress that nobody looks at."""


def answer_of(reply: bytes) -> dict[str, Any]:
    """The statistics of an answer as it crossed the wire."""
    return read_statistics(from_shareable(fobs.loads(reply)).data)[1]


def gather(root: Path, sites: list[str], min_sites: int = 0, spoil: Any = None, **options: Any) -> Statistics:
    recipe = SiteStatisticsRecipe(min_clients=min_sites or len(sites), include_code=False, **options)
    federation = Statistics(recipe, sites, root)
    federation.spoil = spoil
    federation.results = federation.run()
    return federation


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Two hospitals with enough cases for something, and one that has fewer than it tells of."""
    settle(tmp_path, "many", 6, "{min_count: 4, max_bins_percent: 100}")
    settle(tmp_path, "careful", 6, "{min_count: 4, max_bins_percent: 50}")
    settle(tmp_path, "few", 3, "{min_count: 4}")
    return tmp_path


def test_numbers_are_those_of_the_patients(three: Path) -> None:
    found = gather(three, ["careful", "few", "many"], bins=4)
    assert not found.panics and found.results["sites"] == ["careful", "few", "many"]
    told = StatisticsFile.read(found.results, "test").statistics
    values = {
        site: np.array(read_patients(open_site(site, three / site).config, "", ignore).values["volume_ml.organ"])
        for site in ("careful", "many")
    }
    organ = told["volume_ml.organ"]
    for site, of_site in values.items():
        assert organ["count"][site][DATASET] == 6
        assert organ["mean"][site][DATASET] == pytest.approx(of_site.mean(), abs=1e-4)
        assert organ["stddev"][site][DATASET] == pytest.approx(of_site.std(ddof=1), abs=1e-4)
    pooled = np.concatenate(list(values.values()))
    assert organ["mean"]["Global"][DATASET] == pytest.approx(pooled.mean(), abs=1e-4)
    assert organ["stddev"]["Global"][DATASET] == pytest.approx(pooled.std(ddof=1), abs=1e-3)
    bins = np.array(organ["histogram"]["many"][DATASET])
    edges = [*bins[:, 0], bins[-1, 1]]
    assert bins[:, 2].tolist() == np.histogram(values["many"], edges)[0].tolist()
    assert edges[0] < pooled.min() and edges[-1] > pooled.max(), "its ends are moved outwards"
    shares = np.array(told["intensity"]["histogram"]["careful"][DATASET])[:, 2]
    assert shares.sum() == pytest.approx(6, abs=1e-2) and len(shares) == 48


def test_what_is_held_back_is_in_no_message(three: Path) -> None:
    found = gather(three, ["careful", "few", "many"], bins=4)
    told = found.results["statistics"]
    assert all("few" not in sites for statistics in told.values() for sites in statistics.values())
    assert "careful" not in told["slices"]["histogram"], "4 bins of 6 patients are more than half"
    of_few = [answer_of(reply) for site, *_, reply in found.wire if site == "few"]
    assert of_few and not any(sets[DATASET] for answer in of_few for sets in answer.values())
    ends = {site: answer_of(reply)[StC.STATS_MIN][DATASET] for site, *_, reply in found.wire[:3]}
    assert not ends["few"] and all(6 * 0.7 <= ends[site]["slices"] <= 6 * 0.9 for site in ("careful", "many"))
    raw = b"".join(reply for *_, reply in found.wire)
    assert len(raw) < 60_000 and not any(word in raw for word in (str(three).encode(), b"Case00", b"site.yaml"))
    for path in three.glob("*/data/*.nii.gz"):
        voxels = np.asarray(nibabel.load(path).dataobj)
        if len(np.unique(voxels)) > 2:  # an image
            copies = [voxels.astype(kind).tobytes("F") for kind in (np.int16, np.float32, np.float64)]
            assert not any(copy[:32] in raw for copy in copies)


def test_who_asks_again_gets_the_same_noise(three: Path) -> None:
    federation = Statistics(SiteStatisticsRecipe(min_clients=1, include_code=False), ["many"], three)
    asked = Shareable()
    asked[StC.STATISTICS_TASK_KEY] = StC.STATS_1st_STATISTICS
    asked[StC.STATS_TARGET_STATISTICS] = fobs.dumps([StatisticConfig(StC.STATS_MAX, {"*": {"bins": 4}})])
    replies = [fobs.dumps(federation._execute("many", TASK, fobs.loads(fobs.dumps(asked)))) for _ in range(2)]
    assert replies[0] == replies[1]


def test_a_site_with_another_program_spoils_nothing(three: Path) -> None:
    settle(three, "liar", 5, "{min_count: 1}")

    def spoil(reply: Shareable) -> Shareable:
        task, found = read_statistics(from_shareable(reply).data)
        found[StC.STATS_COUNT][DATASET]["slices"] = float("nan")
        return DXO(DataKind.STATISTICS, {StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(found)}).to_shareable()

    found = gather(three, ["liar", "many"], min_sites=1, spoil=("liar", spoil))
    assert not found.panics and found.results["sites"] == ["many"]


def test_too_few_answers_end_the_job_in_one_line(three: Path) -> None:
    found = gather(three, ["few", "many"], spoil=("many", lambda reply: make_reply(ReturnCode.EXECUTION_EXCEPTION)))
    assert len(found.panics) == 1 and not found.results
    assert found.panics[0].startswith("statistics: 1 sites answered (few), expected at least 2; the log of each other")


def test_a_label_that_cannot_be_used_is_told_at_the_site_alone(three: Path, caplog: pytest.LogCaptureFixture) -> None:
    settle(three, "broken", 2, "{}")
    (three / "broken" / "data" / "brokenCase00.nii.gz").write_bytes(b"nothing")
    found = gather(three, ["broken", "many"])
    assert len(found.panics) == 1 and "brokenCase00" not in caplog.text
    assert "brokenCase00.nii.gz" in (three / "broken" / "flare_mri.log").read_text()
    (reply,) = {reply for site, _, _, reply in found.wire if site == "broken"}
    assert set(fobs.loads(reply)) == {"__headers__"}


def test_a_policy_without_statistics_refuses(three: Path, caplog: pytest.LogCaptureFixture) -> None:
    (three / "many" / "local" / "flare_mri.yaml").write_text(
        "methods: [FedMRI]\nshared_layers: [encoder]\nnetworks: []\noptimizers: []\n"
    )
    found = gather(three, ["many"])
    assert "refuses job 'site_statistics', outside its policy: method site-statistics, admitted: FedMRI" in caplog.text
    assert len(found.panics) == 1 and not found.results


COUNT = {StC.STATS_COUNT: {DATASET: {"slices": 6}}}
BAD = {
    "another feature": {StC.STATS_COUNT: {DATASET: {"Jane Doe": 1}}},
    "another dataset": {StC.STATS_COUNT: {"Jane Doe": {}}},
    "another statistic": {**COUNT, "quantile": {DATASET: {}}},
    "text": {**COUNT, StC.STATS_SUM: {DATASET: {"slices": "Jane"}}},
    "no number": {**COUNT, StC.STATS_SUM: {DATASET: {"slices": float("inf")}}},
    "without its count": {StC.STATS_SUM: {DATASET: {"slices": 3.0}}},
    "a named histogram": {**COUNT, HISTOGRAM: {DATASET: {"slices": Histogram(HistogramType.STANDARD, [], "Jane")}}},
    "many bins": {**COUNT, HISTOGRAM: {DATASET: {"slices": Histogram(HistogramType.STANDARD, [Bin(0, 1, 2)] * 65)}}},
}


@pytest.mark.parametrize("statistics", BAD.values(), ids=BAD)
def test_nothing_else_passes_the_filter(statistics: dict[str, Any]) -> None:
    task = StC.STATS_1st_STATISTICS
    assert not problem_in_statistics({StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(COUNT)})
    assert problem_in_statistics({StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(statistics)})


def test_nothing_travels_beside_statistics() -> None:
    task = StC.STATS_1st_STATISTICS
    whole = {StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(COUNT)}
    for bad in (
        {**whole, "image": b"0"},
        {**whole, StC.STATISTICS_TASK_KEY: "image"},
        {**whole, task: fobs.dumps(COUNT) + b"Jane Doe"},
        {**whole, task: b"Jane Doe"},
        {**whole, task: COUNT},
    ):
        assert problem_in_statistics(bad)
