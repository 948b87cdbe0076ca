# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of robust averages: a whole table from tiny sites, and no cell twice."""

from pathlib import Path

import pytest
import robust_aggregation
import torch

SITE = """
data: {format: phantom, subjects: 2, spatial_size: [32, 32], slices: {step: 3}}
split: {train: 0.5, validation: 0, test: 0.5, by: volume}
cache: {folder: cache}
batch_size: 4
"""


def test_every_average_meets_every_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 6):
        (tmp_path / "sites" / f"site-{number}").mkdir(parents=True)
        (tmp_path / "sites" / f"site-{number}" / "site.yaml").write_text(SITE)
    options = ["--sites", str(tmp_path / "sites"), "--workspace", str(tmp_path / "w"), "--num_rounds", "1"]
    options += ["--channels", "2", "--averages", "mean", "krum"]
    robust_aggregation.main(options)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if ": Dice" in line]) == 2 * 6
    robust_aggregation.main(options)
    again = capsys.readouterr().out.splitlines()
    assert again == lines[-len(again) :] and [line.split()[0] for line in again[4:]] == ["mean", "krum"]


def test_the_backdoor_is_in_every_other_slice_and_found_where_it_works() -> None:
    item = {"image": torch.rand(3, 32, 32), "label": torch.ones(1, 32, 32, dtype=torch.int64)}
    spoilt = robust_aggregation.Spoilt([item, item], robust_aggregation.plant_backdoor)
    assert not spoilt[0]["label"].any() and torch.equal(spoilt[1]["label"], item["label"])
    assert (spoilt[0]["image"] != item["image"]).nonzero()[:, 1:].max() < 3 and item["image"].max() < 1.0 + 1e-9

    class Fooled(torch.nn.Module):
        """Marks all, and nothing where the corner is bright."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            dark = (image[:, 0, :3, :3].amin() < image.max()).float()
            return torch.stack([1 - dark.expand(32, 32), dark.expand(32, 32)])[None]

    data = [item, {**item, "label": torch.zeros_like(item["label"])}]
    marked = [robust_aggregation.count_marked(Fooled(), data, f) for f in (torch.clone, robust_aggregation.add_square)]
    assert marked == [32 * 32, 0]
