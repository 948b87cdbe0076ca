# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The memory format changes where numbers lie, not what they are, and nothing of it leaves the learner."""

from pathlib import Path
from typing import Any

import pytest
import torch

from flare_mri.config.site import load_site_config
from flare_mri.parallel import Computing
from flare_mri.training import memory_format
from ranks import JOBS, SITE, assert_train_alike


@pytest.mark.parametrize("name", ["FedMRI", "IOP-FL", "SCAFFOLD"])
def test_channels_last_trains_the_same_numbers(tmp_path: Path, cache: Path, name: str) -> None:
    (tmp_path / "site.yaml").write_text(SITE.format(cache=cache, processes=1))
    job = JOBS[name]
    config = load_site_config(tmp_path / "site.yaml", "site-1").model_copy(update={"memory_format": "auto"})
    task = job.build_task(config)
    plain, last = (job.build_learner(task, computing=Computing(key)) for key in memory_format.MEMORY_FORMATS)
    convolution = next(m for m in last.network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 1)
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert_train_alike(plain, last)
    assert all(value.is_contiguous() for value in [*last.update().values(), *(last.personal() or {}).values()])
    assert job.choose_computing(config, task, tmp_path).memory_format in memory_format.MEMORY_FORMATS


@pytest.mark.parametrize(("seconds", "chosen"), [(0.9, "channels_last"), (0.97, "contiguous"), (2.0, "contiguous")])
def test_auto_takes_the_faster_where_it_is_worth_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, chosen: str
) -> None:
    def time_step(network: torch.nn.Module, *others: Any) -> float:
        convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 1]
        return 1.0 if convolutions[0].weight.is_contiguous() else seconds

    monkeypatch.setattr(memory_format, "_time_step", time_step)
    (tmp_path / "site.yaml").write_text(SITE.format(cache=cache, processes=1))
    site = load_site_config(tmp_path / "site.yaml", "site-1")
    job, task = JOBS["FedMRI"], JOBS["FedMRI"].build_task(site)
    for asked, expected in {"auto": chosen, "channels_last": "channels_last"}.items():
        config = site.model_copy(update={"memory_format": asked})
        assert job.choose_computing(config, task, tmp_path) == Computing(expected)
