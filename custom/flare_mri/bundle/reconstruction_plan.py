# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle must say of reconstruction: what the network takes of a raw scan, and from what it learned."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flare_mri.bundle.plan import BundlePlan, describe_network, refuse_pooled
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import Acquisition
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.raw_reconstruction import BATCH
from flare_mri.io.formats import RECONSTRUCTION, check_task, naming_site
from flare_mri.networks import sample_keys
from flare_mri.physics.coil_sensitivities import normalise_sensitivities


@dataclass(frozen=True)
class ReconstructionBundle(BundlePlan):
    """What a bundle says of a model of reconstruction.

    Attributes:
        keys: entries of a sample that the network is called with, in order.
        sensitivities: how coil sensitivities are found; None: the network takes none.
        batch_size: the most slices in a batch.
        acquisition: of the scans that the model learned from.
    """

    keys: tuple[str, ...]
    sensitivities: str | None
    batch_size: int
    acquisition: Acquisition

    @property
    def needs_package(self) -> bool:
        """Whatever the network is: this package reads the raw scans."""
        return True

    @property
    def subject(self) -> str:
        return "reconstruction of raw scans"

    def make_inputs(self, count: int) -> tuple[Tensor, ...]:
        height, width = self.acquisition.spatial_size
        columns = torch.arange(width)
        mask = (columns % 2 == 0) | ((columns - width // 2).abs() < width // 8)
        kspace, maps = torch.randn(2, count, self.acquisition.coils, height, width, dtype=torch.complex64)
        inputs = {
            "image": torch.randn(count, 1, height, width),
            "kspace": kspace * mask,
            "mask": mask.expand(count, 1, height, width).clone(),
            "sensitivities": normalise_sensitivities(maps),
        }
        return tuple(inputs[key] for key in self.keys)


def plan_reconstruction(model: PersonalModel, config: SiteConfig) -> ReconstructionBundle:
    """Read from a model and its site's settings what a bundle of it must say.

    Args:
        model: of reconstruction.
        config: settings of the site for raw scans, as they were for the job.

    Raises:
        InputError: settings of images, which do not say how they were undersampled, or a model that does not say from
            what it learned.
    """
    with naming_site(config.site):
        refuse_pooled(config)
        data = config.data
        check_task(data.format, RECONSTRUCTION)
        if not data.is_raw():
            raise InputError(
                f"{config.file}: data.format: expected that of raw scans, since a bundle reconstructs k-space as it "
                f"was measured, got {data.format}, whose images do not say how they were undersampled; give a "
                "site.yaml of raw scans, or use flare-mri reconstruct"
            )
        if model.acquisition is None:
            raise InputError(
                "acquisition: expected a model that says from which scans it learned, got one of before this was "
                "kept; train it anew, or use flare-mri reconstruct"
            )
        keys = sample_keys(model.network) or ("image",)
        method: str = data.sensitivities  # type: ignore[attr-defined]
        return ReconstructionBundle(
            *describe_network(model),
            keys=keys,
            sensitivities=method if "sensitivities" in keys else None,
            batch_size=BATCH,
            acquisition=model.acquisition,
        )
