# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A compiled network trains to the numbers of a plain one, and its code lies with the site."""

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.networks.admitted import UNROLLED
from flare_mri.parallel import Computing
from flare_mri.training.compilation import compile_network
from ranks import JOBS, SITE, assert_train_alike

TINY = {"num_cascades": 2, "regulariser_args": {"channels": 2, "num_pools": 1}}


@pytest.fixture(autouse=True)
def no_code_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # and undone afterwards


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_unrolled_network_trains_the_same_numbers(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE.format(cache=cache, processes=1) + "compile: true\n")
    config = load_site_config(tmp_path / "site.yaml", "site-1")
    job = dataclasses.replace(JOBS["FedMRI"], network={"path": UNROLLED, "args": TINY})
    task, store = job.build_task(config), tmp_path / "store"
    computing = job.choose_computing(config, task, store)
    assert computing == Computing("contiguous", compiled=True)
    plain, compiled = job.build_learner(task), job.build_learner(task, computing=computing)
    assert list(compiled.network.state_dict()) == list(plain.network.state_dict())
    assert_train_alike(plain, compiled)
    assert stat.S_IMODE((store / "compiled").stat().st_mode) == 0o700
    assert list((store / "compiled").rglob("*.so"))
    assert all(c._compiled_call_impl is not None for c in compiled.network.encoder)
    assert all(c._compiled_call_impl is None for c in compiled.network_with(compiled.network.state_dict()).encoder)


def test_machine_without_compiler_is_told_before_the_first_round(tmp_path: Path) -> None:
    asked = (
        "import pathlib, torch\nfrom flare_mri.training.compilation import prepare_compilation\n"
        f"prepare_compilation(pathlib.Path({str(tmp_path / 'store')!r}), torch.device('cpu'), 'site-1')"
    )
    environment = {**os.environ, "CXX": str(tmp_path / "no-compiler")}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: site site-1: compile: expected a machine on which torch.compile works, got" in last
    assert last.endswith("or set compile: false")


def test_differential_privacy_refuses_compilation(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE.format(cache=cache, processes=1) + "compile: true\n")
    config = load_site_config(tmp_path / "site.yaml", "site-1")
    job = JOBS["FedMRI"]
    private = dataclasses.replace(job, training={**job.training, "dp_noise_multiplier": 1.0})
    with pytest.raises(InputError, match="compile: expected false for a job with differential privacy"):
        private.choose_computing(config, job.build_task(config), tmp_path / "store")


def test_networks_are_compiled_where_they_compute_with_real_numbers() -> None:
    class Whole(torch.nn.Module):
        """Of MONAI, say."""

    whole, apart = Whole(), torch.nn.Module()
    apart.encoder = torch.nn.ModuleDict({"kspace": torch.nn.Identity(), "image": torch.nn.Identity()})
    apart.decoder = torch.nn.Identity()
    for network in (whole, apart):
        compile_network(network)
    compiled = {name for name, module in apart.named_modules() if module._compiled_call_impl is not None}
    assert compiled == {"encoder.kspace", "encoder.image", "decoder"}
    assert whole._compiled_call_impl is not None
