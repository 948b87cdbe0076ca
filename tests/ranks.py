# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Small jobs that several processes train, and a script that is one of them: RANK COUNT SITE FOLDER.

It trains all jobs one after the other, so that a test pays for the start of its processes once.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from flare_mri.config.site import load_site_config
from flare_mri.networks.admitted import UNROLLED
from flare_mri.parallel import LocalJob
from flare_mri.training import Learner, Task
from flare_mri.training.data_parallel import synchronise_statistics

SITE = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: 1}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 3
processes: {processes}
device: cpu
"""
UNET = "flare_mri.networks.unet.UNet"
SMALL = {"channels": 4, "num_pools": 2}
CASCADES = {
    "path": UNROLLED,
    "args": {"num_cascades": 2, "regulariser_args": SMALL, "data_consistency": "soft"},
}
ORGAN = {"path": UNET, "args": {**SMALL, "in_channels": 3, "out_channels": 2, "norm": "batch"}}
SGD = {"optimizer": "sgd", "lr": 0.05, "lr_step": 0}
RECONSTRUCTION = ("job", "reconstruction")
SEGMENTATION = ("job", "segmentation")
JOBS = {
    "FedMRI": LocalJob(*RECONSTRUCTION, "FedMRI", {"path": UNET, "args": SMALL}, "encoder", SGD, {}),
    "FedProx": LocalJob(*RECONSTRUCTION, "FedProx", CASCADES, "all", {**SGD, "weight_average": 0.9}, {}),
    "IOP-FL": LocalJob(*SEGMENTATION, "IOP-FL", ORGAN, "all", {**SGD, "loss": "dice_ce"}, {}),
    "SCAFFOLD": LocalJob(*SEGMENTATION, "SCAFFOLD", ORGAN, "all", {**SGD, "max_grad_norm": 0.1}, {}),
    "augmented": LocalJob(*SEGMENTATION, "FedAvg", ORGAN, "all", {**SGD, "augmentation": True}, {}),
    "FedRep": LocalJob(*SEGMENTATION, "FedRep", ORGAN, "encoder", {**SGD, "local_epochs": 2}, {}),
    "Ditto": LocalJob(*SEGMENTATION, "Ditto", ORGAN, "all", SGD, {}),
}
ROUNDS = 3


def received_by(learner: Learner, number: int) -> dict[str, Tensor]:
    """A global model near the network's initial weights, and a small control variate."""
    generator = torch.Generator().manual_seed(number)
    like = learner.shared_state() | learner.hooks.extra_like(learner)
    drawn = {key: 1e-3 * torch.rand(value.shape, generator=generator) for key, value in like.items()}
    return {k: drawn[k] + (v if k in learner.shared else 0) if v.is_floating_point() else v for k, v in like.items()}


def assert_train_alike(plain: Learner, other: Learner) -> None:
    """Two rounds from the same messages give the same losses and updates, to 1e-5."""
    for number in range(2):
        received = received_by(plain, number)
        loss = plain.train(received, number).loss
        assert abs(other.train(received, number).loss - loss) < 1e-5
        expected = plain.update()
        for key, value in other.update().items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)


def train(job: LocalJob, task: Task, number_of_processes: int) -> list[dict[str, Any]]:
    """What a site has after each round; the second one's state goes over to another learner, as to another process."""

    def build() -> Learner:
        learner = job.build_learner(task)
        if number_of_processes > 1:
            synchronise_statistics(learner.network)
        return learner

    learner, found = build(), []
    messages = [received_by(learner, number) for number in range(ROUNDS)]
    for number, received in enumerate(messages):
        if number == ROUNDS - 1:
            state, learner = learner.private_state(), build()
            learner.restore(state, number - 1)
        report = learner.train(received, number)
        network = {key: value.clone() for key, value in learner.network.state_dict().items()}
        update, personal = learner.update(), learner.personal()
        found.append({"loss": report.loss, "network": network, "update": update, "personal": personal})
    return found


def main() -> None:
    """Train all jobs as one of several processes."""
    rank, count, site, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    config = load_site_config(site, "site-1")
    found = {name: train(job, job.build_task(config), count) for name, job in JOBS.items()}
    torch.save(found, folder / f"rank-{rank}.pt")


if __name__ == "__main__":
    main()
