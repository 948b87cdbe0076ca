# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``inference.json`` of a reconstruction bundle: MONAI's engine, with this package's reader and writer of raw scans.

It says what :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor` does with undersampled scans: tests
compare the two.
"""

from typing import Any

from flare_mri.bundle.inference_config import inference_config
from flare_mri.bundle.reconstruction_plan import ReconstructionBundle
from flare_mri.io.raw.read import RAW_SUFFIXES

_SCANS = "$[path for path in sorted(glob.glob(@dataset_dir + '/*')) if path.endswith({suffixes!r})]"
_PARTS = "flare_mri.bundle.raw_scans"


def reconstruction_config(plan: ReconstructionBundle) -> dict[str, Any]:
    """The content of ``configs/inference.json``.

    It reads all raw scans of ``dataset_dir``, and writes ``<name>_reconstruction.nii.gz`` to ``output_dir``.
    """
    return inference_config(
        plan,
        ["$import glob", "$import torch"],
        _SCANS.format(suffixes=RAW_SUFFIXES),
        "scan",
        sensitivities=plan.sensitivities,
        preprocessing={
            "_target_": "Compose",
            "transforms": [{"_target_": f"{_PARTS}.ReadRawScand", "keys": "scan", "sensitivities": "@sensitivities"}],
        },
        prepare_batch={"_target_": f"{_PARTS}.PrepareSlices", "keys": list(plan.keys)},
        inferer={"_target_": f"{_PARTS}.SliceBatchInferer", "batch_size": plan.batch_size},
        postprocessing={
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{_PARTS}.SaveReconstructiond",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "kspace": "kspace" in plan.keys,
                }
            ],
        },
    )
