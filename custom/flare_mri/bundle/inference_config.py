# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What ``inference.json`` says in bundles of both tasks: places, device, network and MONAI's engine."""

from typing import Any

from flare_mri.bundle.plan import BundlePlan


def inference_config(plan: BundlePlan, imports: list[str], scans: str, key: str, **parts: Any) -> dict[str, Any]:
    """The content of ``configs/inference.json``; ids are those that MONAI's tools ask for
    (:mod:`monai.bundle.properties`).

    Args:
        plan: of the model.
        imports: modules that expressions name, as ``$import glob``.
        scans: an expression of the paths of all scans in ``dataset_dir``.
        key: of a scan's path in the data set.
        parts: ``preprocessing``, ``inferer``, ``postprocessing`` and what else the task has by id; an id that is the
            name of an argument of MONAI's ``SupervisedEvaluator`` is given to it.
    """
    given = [name for name in ("prepare_batch", "inferer", "postprocessing") if name in parts]
    return {
        "imports": imports,
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/eval'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": scans,
        "network_def": {"_target_": plan.target, **plan.args},
        "network": "$@network_def.to(@device)",
        **parts,
        "dataset": {
            "_target_": "Dataset",
            "data": f"$[{{'{key}': path}} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        # reads with weights_only=True
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "@checkpoint", "load_dict": {"model": "@network"}}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            **{name: f"@{name}" for name in given},
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
