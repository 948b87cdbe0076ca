# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of a whole federation in TensorBoard's files and in a real MLflow database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import TINY
from federation import Federation
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.workflows import tracking
from flare_mri.flare.workflows.tracking import MLflowTracker, import_mlflow, tell_curves

ADDRESS = "http://lead:secret@127.0.0.1:1"


def run(tmp_path: Path, sites: list[str], kind: str) -> Federation:
    recipe = FedMRIRecipe(min_clients=3, num_rounds=2, network=TINY, tracking=kind, include_code=False)
    federation = Federation(recipe, sites, tmp_path)
    federation.run()
    return federation


def test_tensorboard_has_a_point_a_round_and_site(tmp_path: Path, sites: list[str]) -> None:
    run(tmp_path, sites, "tensorboard")
    events = EventAccumulator(str(tmp_path / "server" / "tb_events"))
    events.Reload()
    losses = [point.step for point in events.Scalars("site-2/train_loss")]
    assert losses == [0, 1] and [point.step for point in events.Scalars("site-2/validation/psnr")] == [0, 1]


def test_mlflow_has_parameters_metrics_and_results(tmp_path: Path, sites: list[str]) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    federation = run(tmp_path, sites, "mlflow")
    assert not federation.panics and not (tmp_path / "server" / "tb_events").exists()
    client = import_mlflow().MlflowClient(f"sqlite:///{tmp_path}/server/mlflow.db")
    experiment = client.get_experiment_by_name("fedmri")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED" and found.info.run_name == "FedMRI"
    given = found.data.params
    assert given["method"] == "FedMRI" and given["network.path"] == TINY["path"] and given["training.seed"] == "0"
    assert given["training.loss"] == "l1" and given["num_rounds"] == "2"
    results = json.loads((tmp_path / "server" / "results.json").read_text())["methods"]["FedMRI"]
    for site in sites:
        points = client.get_metric_history(found.info.run_id, f"{site}/train_loss")
        filed = [row["sites"][site]["train_loss"] for row in results["rounds"]]
        assert [point.value for point in sorted(points, key=lambda point: point.step)] == filed
        assert found.data.metrics[f"{site}/best/test/psnr"] == results["sites"][site]["best"]["test"]["psnr"]
    kept = Path(found.info.artifact_uri.removeprefix("file://")) / "results.json"
    assert json.loads(kept.read_text())["methods"]["FedMRI"] == results


def test_a_store_that_goes_away_ends_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    told: list[str] = []
    tracker = MLflowTracker(tmp_path, "FedMRI", {"job": "a"}, told.append)
    with monkeypatch.context() as broken:
        broken.setattr(tracker._client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError("gone")))
        tracker.add("site 1/ä?", "train_loss", 0.5, 0)
        tracker.flush()
    assert len(told) == 1 and "did not take" in told[0] and "gone" in told[0]
    tracker.add("site 1/ä?", "train_loss", float("nan"), 1)
    tracker.close(tmp_path / "results.json", finished=False)
    found = tracker._client.get_run(tracker._run)
    assert list(found.data.metrics.values()) == [0.5] and found.info.status == "FAILED"


def test_no_store_is_one_line_before_the_first_round(
    tmp_path: Path, sites: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    federation = run(tmp_path, sites, "mlflow")
    (line,) = federation.panics
    assert line.startswith("tracking: MLflow's store http://127.0.0.1:1 cannot be used") and "secret" not in line
    assert not federation.sent


def test_a_line_says_where_curves_are_and_what_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tell_curves(tmp_path) == ""
    (tmp_path / "tb_events").mkdir()
    assert tell_curves(tmp_path) == f"curves: tensorboard --logdir {tmp_path}/tb_events"
    (tmp_path / "mlflow.db").touch()
    shown = tell_curves(tmp_path)
    assert shown == tell_curves(tmp_path, "mlflow")
    assert shown.startswith(f"curves: mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db")
    whole = subprocess.run([sys.executable, "-m", "pip", "show", "mlflow"], capture_output=True, timeout=120)
    assert ("pip install mlflow" in shown) == (whole.returncode != 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    assert tell_curves(tmp_path, "mlflow") == "curves: MLflow's server http://127.0.0.1:1 shows them"


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(InputError, match=r"needs the package mlflow .*; pip install 'flare-mri\[tracking\]'"):
        tracking.import_mlflow()
