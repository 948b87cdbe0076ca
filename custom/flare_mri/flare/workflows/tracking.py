# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Experiment tracking on the server: TensorBoard's event files, or a run of MLflow.

Both show what sites send with their answers anyway and nothing else leaves a site for it. FLARE's ``MLflowReceiver``
does not serve: it waits for analytics events that sites send beside their answers, opens a run for each site, knows no
parameters and no artifacts, and takes its address from the job: a lead would choose where the server writes.
"""

import math
import os
import re
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

import flare_mri
from flare_mri.errors import InputError

MLFLOW, EVENTS = "mlflow", "tb_events"
URI_VARIABLE, EXPERIMENT_VARIABLE = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
"""MLflow's own variables, of the server's environment."""
DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
"""Of a run folder, where the environment names no other store."""

_MOST_METRICS, _MOST_LETTERS = 1000, 6000  # that MLflow takes in one request, and in one parameter
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3 would tell its makers of its use
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its defaults wait for minutes, and a round with it
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Tracker(ABC):
    """Curves of a run while it goes on; the record of it is results.json."""

    @abstractmethod
    def add(self, site: str, name: str, value: float, round_number: int) -> None:
        """A point of a site's curve."""

    @abstractmethod
    def flush(self) -> None:
        """Show what was added; called after every round."""

    @abstractmethod
    def close(self, results: Path, finished: bool) -> None:
        """End the curves of a run, whose results.json may not be there where it failed early."""


class TensorBoardTracker(Tracker):
    """Event files in the run's folder, ``tb_events``."""

    def __init__(self, run_dir: Path):
        self._writer = SummaryWriter(str(run_dir / EVENTS))

    def add(self, site: str, name: str, value: float, round_number: int) -> None:
        """A point of the curve ``<site>/<name>``."""
        self._writer.add_scalar(f"{site}/{name}", value, round_number)

    def flush(self) -> None:
        """Write the points to the file."""
        self._writer.flush()

    def close(self, results: Path, finished: bool) -> None:
        """Close the file."""
        self._writer.close()


class MLflowTracker(Tracker):
    """A run of MLflow: settings as parameters, metrics ``<site>/<name>`` by round, results.json as artifact.

    It goes to ``$MLFLOW_TRACKING_URI`` of the server (a tracking server, or ``sqlite:///`` and a path), else to
    ``mlflow.db`` in the run's folder. A store that cannot be opened ends the job before its first round. One that goes
    away later does not: the points are kept and sent with those of the next round, and the server's log says so.

    Args:
        run_dir: the run's folder on the server.
        method: name of the method, and of MLflow's run.
        settings: of the job; the experiment is called after its ``job`` unless ``$MLFLOW_EXPERIMENT_NAME`` names one.
        warn: takes a line for what could not be sent.

    Raises:
        InputError: MLflow is not installed, or its store cannot be opened.
    """

    def __init__(self, run_dir: Path, method: str, settings: Mapping[str, Any], warn: Callable[[str], None]):
        mlflow = import_mlflow()
        self._entities, self._warn, self._points = mlflow.entities, warn, list[Any]()
        uri, artifacts = find_store(run_dir)
        experiment = os.environ.get(EXPERIMENT_VARIABLE) or str(settings.get("job", method))
        parameters = {"method": method, **dict(_flatten(settings))}
        try:
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            number = known.experiment_id if known else self._client.create_experiment(experiment, artifacts)
            tags = {"flare_mri.version": flare_mri.__version__, "flare_mri.job": str(settings.get("job", method))}
            self._run = self._client.create_run(number, run_name=method, tags=tags).info.run_id
            given = [mlflow.entities.Param(key, value[:_MOST_LETTERS]) for key, value in parameters.items()]
            for start in range(0, len(given), 100):
                self._client.log_batch(self._run, params=given[start : start + 100])
        # MLflow, SQLAlchemy and requests each raise errors of their own, which have no base but Exception.
        except Exception as error:
            raise InputError(f"tracking: MLflow's store {_public(uri)} cannot be used ({_reason(error)})") from error

    def add(self, site: str, name: str, value: float, round_number: int) -> None:
        """Keep a point until :meth:`flush`; one that is not finite has no place on a curve."""
        if math.isfinite(value):
            key = re.sub(r"[^\w .:/-]", "_", f"{site}/{name}")
            self._points.append(self._entities.Metric(key, value, int(time.time() * 1000), round_number))

    def flush(self) -> None:
        """Send the points; where that fails they are kept for the next time."""
        while self._points and self._try(
            lambda: self._client.log_batch(self._run, metrics=self._points[:_MOST_METRICS])
        ):
            del self._points[:_MOST_METRICS]

    def close(self, results: Path, finished: bool) -> None:
        """Send what is left and results.json, and end the run as finished or failed."""
        self.flush()
        if results.exists():
            self._try(lambda: self._client.log_artifact(self._run, str(results)))
        self._try(lambda: self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED"))

    def _try(self, send: Callable[[], None]) -> bool:
        try:
            send()
        except Exception as error:  # as above; a federation does not end because its curves cannot be drawn
            self._warn(f"tracking: MLflow did not take what was sent ({_reason(error)}); results.json has all of it")
            return False
        return True


def make_tracker(
    kind: str, run_dir: Path, method: str, settings: Mapping[str, Any], warn: Callable[[str], None]
) -> Tracker:
    """The tracker of a setting ``tracking``.

    Raises:
        InputError: it cannot be made.
    """
    return MLflowTracker(run_dir, method, settings, warn) if kind == MLFLOW else TensorBoardTracker(run_dir)


def tell_curves(run_dir: Path, kind: str = "") -> str:
    """Where the curves of a run are and how to look at them, a line; empty where there are none.

    Args:
        run_dir: the run's folder.
        kind: the setting ``tracking``; empty: what lies in the folder.
    """
    if kind == MLFLOW or (not kind and (run_dir / DATABASE).is_file()):
        uri = find_store(run_dir)[0] if kind else _database(run_dir)
        if not uri.startswith("sqlite:///"):
            return f"curves: MLflow's server {_public(uri)} shows them"
        line = f"curves: mlflow ui --backend-store-uri {shlex.quote(uri)}"
        return line if _has_pages() else f"{line} (the page is in the whole MLflow: pip install mlflow)"
    if kind or (run_dir / EVENTS).is_dir():
        return f"curves: tensorboard --logdir {shlex.quote(str((run_dir / EVENTS).absolute()))}"
    return ""


def _has_pages() -> bool:
    """Whether the whole MLflow is installed: mlflow-skinny, of the extra, has the command `mlflow ui`, which fails."""
    return any(found.name == "mlflow" for found in distributions(name="mlflow"))


def import_mlflow() -> Any:
    """The package ``mlflow``, told to send nothing to its makers.

    Raises:
        InputError: it is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import alembic  # noqa: F401  # which its local databases need
        import mlflow.entities
        import mlflow.tracking
    except ModuleNotFoundError as error:
        raise InputError(
            f"tracking: {MLFLOW} needs the package mlflow on the server, got no {error.name}; pip install "
            "'flare-mri[tracking]'"
        ) from error
    return mlflow


def find_store(run_dir: Path) -> tuple[str, str | None]:
    """The address of MLflow's store, and of artifacts of new experiments; None where a tracking server has its own."""
    uri = os.environ.get(URI_VARIABLE, "")
    if not uri:
        return _database(run_dir), (run_dir / ARTIFACTS).absolute().as_uri()
    if uri.startswith("sqlite:///"):
        return uri, (Path(uri.removeprefix("sqlite:///")).absolute().parent / ARTIFACTS).as_uri()
    return uri, None


def _database(run_dir: Path) -> str:
    return f"sqlite:///{(run_dir / DATABASE).absolute()}"


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of nested settings."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(value)


def _public(uri: str) -> str:
    """An address without the name and password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _reason(error: Exception) -> str:
    return _public(" ".join(str(error).split()))[:200] or type(error).__name__
