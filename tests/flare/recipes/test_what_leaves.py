# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of docs/reference/wire-and-disk.md, row by row, against the bytes of every message."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from conftest import TINY
from federation import Federation, weights_in
from flare_mri.flare.executors.site import open_site
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.metrics.volume_scores import SCORES_FILE, load_scores
from flare_mri.networks import build_network, shared_keys
from flare_mri.networks.differences import compress
from flare_mri.training import RECONSTRUCTION, SEGMENTATION, SiteStore, TrainingSettings, build_task

REPO = Path(__file__).parents[3]
SITES = ["site-1", "site-2"]
PRIVACY = {"fraction": 0.5, "gamma": 0.01, "noise_var": 10.0}
BATCH_NORM = {"path": TINY["path"], "args": {**TINY["args"], "norm": "batch"}}
SEGMENTING = {"path": TINY["path"], "args": {**BATCH_NORM["args"], "in_channels": 3, "out_channels": 2}}
SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32]}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 4
"""
WINDOW = 32  # bytes: eight float32 in a row are no coincidence


def rows() -> list[tuple[str, ...]]:
    text = (REPO / "docs" / "reference" / "wire-and-disk.md").read_text()
    table = text.split("| job | setting |")[1].split("\n\n")[0]
    return [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in table.splitlines()[2:]]


def windows(array: np.ndarray | Tensor) -> Iterator[bytes]:
    """Some stretches of an array's bytes that are not all one value."""
    content = np.ascontiguousarray(array).tobytes()
    for start in range(0, len(content) - WINDOW + 1, max(WINDOW, len(content) // 8 // 4 * 4)):
        if len(set(content[start : start + WINDOW])) > WINDOW // 3:
            yield content[start : start + WINDOW]


def secrets(federation: Federation, site: str, task: str, job: str, sent_keys: set[str]) -> Iterator[tuple[str, bytes]]:
    """Everything of a site that must not be found in what it sends."""
    root = federation.root / site
    data = build_task(task, open_site(site, root).config, 0)
    for split in ("train", "test"):
        for place in range(len(data.dataset(split))):
            for name, value in data.dataset(split)[place].items():
                if isinstance(value, (Tensor, np.ndarray)):
                    for window in windows(value):
                        yield f"{split} {name}", window
    store = SiteStore(root / "site_store", job, site)
    states = list(store.folder.glob("*/*.pt"))
    assert states or job == "iopfl_outside"
    assert list(store.folder.rglob(SCORES_FILE))
    for path in states:
        for key, value in named_tensors(store.load(path.name, path.parent.name)):
            if key.split("/")[-1] not in sent_keys:
                for window in windows(value):
                    yield key, window
    for path in store.folder.rglob(SCORES_FILE):
        for row in load_scores(path).values():
            for volume in row:
                yield "pseudonym of a volume", volume.encode()
    for word in (str(root), "site.yaml", "site_store", "format: phantom"):
        yield word, word.encode()


def named_tensors(state: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield path, state.contiguous()
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from named_tensors(value, f"{path}/{key}")


def recipe_of(job: str, setting: str) -> tuple[Any, str]:
    """The recipe that a row means, and its task."""
    method, *flags = setting.split(" --")
    options: dict[str, Any] = {name: value or True for name, _, value in (flag.partition(" ") for flag in flags)}
    if "privacy" in options:
        options["privacy_arguments"] = PRIVACY
    network = SEGMENTING if job == "iopfl" else BATCH_NORM if method == "FedBN" else TINY
    learn = {key: float(options.pop(key)) for key in list(options) if key in TrainingSettings.model_fields}
    options |= {"network": network, "method": method, "min_clients": 2, "num_rounds": 2, "include_code": False}
    if job == "iopfl":
        return IOPFLRecipe(**options), SEGMENTATION
    epochs = 3 if "update_dtype" in options else 1  # after one step all changes are of one size, and none is a secret
    return FedMRIRecipe(**options, training=TrainingSettings(lr=1e-3, local_epochs=epochs, **learn)), RECONSTRUCTION


def settle(root: Path, names: list[str], cache: Path, consent: bool = False) -> None:
    for name in names:
        (root / name / "local").mkdir(parents=True)
        text = SITE_YAML.format(cache=cache) + ("cross_site: true\n" if consent else "")
        (root / name / "local" / "site.yaml").write_text(text)


def test_the_table_names_every_method() -> None:
    named = {(job, setting.split(" ")[0]) for job, setting, *_ in rows()}
    expected = {("fedmri", m) for m in FedMRIRecipe.system.methods} | {("iopfl", m) for m in IOPFLRecipe.system.methods}
    # centralised is one site: there is nobody to send to
    expected -= {("fedmri", "centralised"), ("iopfl", "centralised")}
    assert named == expected | {("iopfl_outside", ""), ("site_statistics", "")}


@pytest.mark.parametrize("row", [row for row in rows() if row[1]], ids=lambda row: f"{row[0]} {row[1]}")
def test_nothing_else_leaves(row: tuple[str, ...], tmp_path: Path, cache: Path) -> None:
    job, setting, sends, receives = row
    settle(tmp_path, SITES, cache, "consents" in receives)
    recipe, task = recipe_of(job, setting)
    federation = Federation(recipe, SITES, tmp_path)
    federation.run()
    assert not federation.panics
    expected = set(shared_keys(build_network(federation.recipe_network(), 0), sends.split(",")[0]))
    if "control variates" in sends:
        parameters = {name for name, _ in build_network(federation.recipe_network(), 0).named_parameters()}
        expected |= {f"control_variate.{name}" for name in expected & parameters}
    if "int8" in sends:
        expected |= {f"{name}.int8_scale" for name in expected}  # of networks without integer buffers
    for site, name, message in federation.sent:
        keys = set(weights_in(message))
        assert keys == (expected if name in ("train", "submit_model") else set()), (site, name)
    assert ("submit_model" in {name for _, name, _ in federation.sent}) == ("personal model" in sends)
    if expected:  # what is sent is found by this search, so what is not found was not sent
        site, _, message = next(s for s in federation.sent if s[1] == "train")
        assert any(w in federation.wire_of(site) for v in weights_in(message).values() for w in windows(v))
    for site in SITES:
        raw = federation.wire_of(site)
        # optimizers and best models hold tensors under the names of shared ones; what was sent is taken out by value
        mine = sent_by(federation, site)
        found = {
            what for what, window in secrets(federation, site, task, job, set()) if window in raw and window not in mine
        }
        assert not found
    assert_received(federation, receives)
    assert ("cross_evaluate" in {name for _, name, _ in federation.sent}) == ("consents" in receives)


def sent_by(federation: Federation, site: str) -> set[bytes]:
    """Windows of the weights that a site is meant to send."""
    return {w for who, _, m in federation.sent if who == site for v in weights_in(m).values() for w in windows(v)}


def assert_received(federation: Federation, receives: str) -> None:
    """A site is given this of another one in the second round: its encoder as a difference, or nothing of its own."""
    first = {site: weights_in(m) for site, name, m in federation.sent[::-1] if name == "train"}
    second = [given for site, name, given, _ in federation.wire if name == "train" and site == "site-1"][1]
    encodings: set[bytes] = set()
    for key, theirs in first["site-2"].items():
        mean = federation.saved[0]["params"].get(key, torch.zeros_like(theirs))
        encodings |= set(windows(theirs))
        if theirs.is_floating_point():
            encodings |= set(windows(theirs - mean))
            encodings |= set(windows((theirs - mean).to(torch.bfloat16).view(torch.int16)))
            encodings |= set(windows(compress({key: theirs - mean}, "int8")[key]))
        encodings -= set(windows(mean))  # weights that nobody has changed
    assert any(window in second for window in encodings) == receives.startswith("each")


@pytest.mark.parametrize("method", ["Ditto", "FedAvg"])
def test_no_server_gets_a_personal_model_by_asking(tmp_path: Path, cache: Path, method: str) -> None:
    """Of a method whose personal models stay at the sites, whatever a server asks for."""
    settle(tmp_path, SITES[:1], cache)
    recipe = recipe_of("iopfl", method)[0]
    federation = Federation(recipe, SITES[:1], tmp_path)
    run = {"flare_mri_run": "c0ffee" + "0" * 26}
    shared = build_network(federation.recipe_network(), 0).state_dict()
    assert weights_in(federation.ask("site-1", "train", shared, run))
    reply = federation.ask("site-1", "submit_model", {}, run, number=1)
    assert set(reply) == {"__headers__"} and reply.get_return_code() == "EXECUTION_EXCEPTION"
    told = (tmp_path / "site-1" / "flare_mri.log").read_text()
    assert f"{method} keeps personal models at the sites, the server asks for this one" in told


def test_an_outside_site_sends_no_tensor(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["site-1", "site-2", "outside-1"], cache)
    inside = Federation(recipe_of("iopfl", "IOP-FL")[0], SITES, tmp_path)
    inside.run()
    space = tmp_path / "server" / "routing_space.safetensors"
    recipe = IOPFLOutsideRecipe(routing_space=str(space), epochs=1, include_code=False)
    outside = Federation(recipe, ["outside-1"], tmp_path)
    outside.run()
    assert not outside.panics and {row[0]: row[2] for row in rows()}["iopfl_outside"] == "none"
    raw = outside.wire_of("outside-1")
    assert len(raw) < 20_000 and not [m for _, _, m in outside.sent if weights_in(m)]
    for what, window in secrets(outside, "outside-1", SEGMENTATION, "iopfl_outside", set()):
        assert window not in raw, what
    predictions = np.load(tmp_path / "outside-1" / "site_store" / "iopfl_outside" / "outside-1" / "predictions.npz")
    for window in windows(predictions["labels"]):
        assert window not in raw
    given = b"".join(given for _, name, given, _ in outside.wire if name == "route")
    experts = safetensors.torch.load_file(space)
    assert any(window in given for value in experts.values() for window in windows(value)), "the search finds tensors"
