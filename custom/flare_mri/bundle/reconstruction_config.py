# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``inference.json`` of a reconstruction bundle: MONAI's engine, with this package's reader and writer of raw scans.

It says what :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor` does with undersampled scans: tests
compare the two.
"""

from typing import Any

from flare_mri.bundle.reconstruction_plan import ReconstructionBundle
from flare_mri.io.raw.read import RAW_SUFFIXES

_SCANS = "$[path for path in sorted(glob.glob(@dataset_dir + '/*')) if path.endswith({suffixes!r})]"
_PARTS = "flare_mri.bundle.raw_scans"


def reconstruction_config(plan: ReconstructionBundle) -> dict[str, Any]:
    """The content of ``configs/inference.json``.

    Its ids are those that MONAI's tools ask for (:mod:`monai.bundle.properties`). It reads all raw scans of
    ``dataset_dir``, and writes ``<name>_reconstruction.nii.gz`` to ``output_dir``.
    """
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/eval'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": _SCANS.format(suffixes=RAW_SUFFIXES),
        "network_def": {"_target_": plan.target, **plan.args},
        "network": "$@network_def.to(@device)",
        "sensitivities": plan.sensitivities,
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": f"{_PARTS}.ReadRawScand", "keys": "scan", "sensitivities": "@sensitivities"}],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'scan': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "prepare_batch": {"_target_": f"{_PARTS}.PrepareSlices", "keys": list(plan.keys)},
        "inferer": {"_target_": f"{_PARTS}.SliceBatchInferer", "batch_size": plan.batch_size},
        "postprocessing": {
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
        # reads with weights_only=True
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "@checkpoint", "load_dict": {"model": "@network"}}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "prepare_batch": "@prepare_batch",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
