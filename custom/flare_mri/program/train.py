# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Trains: a job of FLARE, in its simulator or in a consortium.

examples:
  flare-mri train fedmri
  flare-mri train iopfl --outside site-6
  flare-mri train iopfl_outside --clients site-6 --routing_space routing_space.safetensors

Every job tells its options with --help; jobs/<job>/job.py of a checkout is the same. Exit codes are those of flare-mri.
"""

from collections.abc import Sequence

from flare_mri.program.main import Command, run_command

COMMANDS = {
    "fedmri": Command("flare_mri.program.train_fedmri", "reconstruction: FedMRI and its baselines"),
    "iopfl": Command("flare_mri.program.train_iopfl", "segmentation: IOP-FL and its baselines"),
    "iopfl_outside": Command("flare_mri.program.train_iopfl_outside", "a model for sites that did not train"),
}


def main(argv: Sequence[str]) -> int:
    """Runs a job; returns its exit code."""
    return run_command(COMMANDS, "flare-mri train", __doc__, argv)
