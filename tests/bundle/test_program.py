# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The exported program of a bundle gives what its network gives, without the network's code."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bundles import NETWORKS as SEGMENTATION
from bundles import model as segmentation_model
from bundles import site as segmentation_site
from flare_mri.bundle import export_bundle
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from reconstruction_bundles import NETWORKS, model, site

NOT_TRACED = {  # what they do depends on the mask's values, or on how far conjugate gradients have come
    "unrolled, combined": "UnrolledNetwork",
    "unrolled, own sensitivities": "UnrolledNetwork",
    "variational": "VariationalNetwork",
}


def export(known: PersonalModel, config: Any, out: Path) -> tuple[Any, Path]:
    return export_bundle(known, config, out, program=True), out / "models" / "model.pt2"


def assert_same(known: PersonalModel, file: Path, inputs: tuple[torch.Tensor, ...]) -> None:
    with torch.no_grad():
        found, wanted = torch.export.load(file).module()(*inputs), known.build()(*inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    assert wanted.std() > 0


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in NOT_TRACED])
def test_reconstruction(tmp_path: Path, name: str) -> None:
    """Any number of slices, and of coils where the model learned from several."""
    known = model(name)
    plan, file = export(known, site(tmp_path), tmp_path / "bundle")
    for count in (1, 2, 5):
        assert_same(known, file, plan.make_inputs(count))
    if "kspace" in plan.keys and plan.acquisition.coils > 1:
        kspace, mask, maps = plan.make_inputs(2)
        assert_same(known, file, (kspace[:, :2], mask, maps[:, :2]))


@pytest.mark.parametrize("name", list(SEGMENTATION))
def test_segmentation(tmp_path: Path, scans: Path, name: str) -> None:
    known = segmentation_model(name)
    plan, file = export(known, segmentation_site(tmp_path, scans), tmp_path / "bundle")
    for count in (1, 6):
        assert_same(known, file, plan.make_inputs(count))


@pytest.mark.parametrize("name", list(NOT_TRACED))
def test_networks_that_cannot_be_traced_are_refused(tmp_path: Path, name: str) -> None:
    told = f"torch_export: expected a network that torch.export can trace, got {NOT_TRACED[name]} "
    with pytest.raises(InputError, match=told) as caught:
        export(model(name), site(tmp_path), tmp_path / "bundle")
    assert "\n" not in str(caught.value) and not (tmp_path / "bundle").exists()


def test_a_program_needs_no_code_of_ours_and_names_nobody(tmp_path: Path) -> None:
    known = model("unrolled")
    plan, file = export(known, site(tmp_path), tmp_path / "bundle")
    inputs = plan.make_inputs(3)
    torch.save(inputs, tmp_path / "inputs.pt")
    code = (
        "import sys, torch\n"
        f"program = torch.export.load({str(file)!r}).module()\n"
        f"torch.save(program(*torch.load({str(tmp_path / 'inputs.pt')!r})), {str(tmp_path / 'output.pt')!r})\n"
        "assert not any(name.startswith(('flare_mri', 'monai')) for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with torch.no_grad():
        wanted = known.build()(*inputs)
    torch.testing.assert_close(torch.load(tmp_path / "output.pt"), wanted, rtol=1e-5, atol=1e-4)
    folders = {str(Path(name).parent) for name in (__file__, torch.__file__, sys.prefix)}
    with torch.serialization._open_zipfile_reader(io.BytesIO(file.read_bytes())) as archive:
        records = [archive.get_record(name) for name in archive.get_all_records()]
    hidden = [b"saint-mary", b"study-7", *(folder.encode() for folder in (*folders, str(tmp_path)))]
    assert records and not any(word in record for record in records for word in hidden)
