# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The model a hospital ends with, as it lies in its site store: ``personal.safetensors``."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.datasets.acquisition import Acquisition, acquisition_from
from flare_mri.datasets.organ_sizes import OrganSizes, organ_sizes_from
from flare_mri.errors import InputError
from flare_mri.inference.calibration import Calibration
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION
from flare_mri.networks import build_meta_state, build_network, check_fits, check_state
from flare_mri.routing import build_routed_network
from flare_mri.routing.space import PLAN
from flare_mri.tensor_file import check_tensor, read_tensor_file

PERSONAL_FILE = "personal.safetensors"
_FORMAT = "flare-mri personal model 1"
_ORIGIN = f"the {PERSONAL_FILE} that a job left in the site's store"
_TEXTS = ("job", "site", "task")
_LISTS = ("orientations", "experts")
_KNOWN = {"own_dice": 1.0, "distance": math.inf}  # numbers that a model may lack, and the largest they may be
AXCODES = re.compile(r"(?:[RL][AP][SI]|[RL][SI][AP]|[AP][RL][SI]|[AP][SI][RL]|[SI][RL][AP]|[SI][AP][RL])")


@dataclass(frozen=True)
class PersonalModel:
    """A hospital's own model: of the inside (FedMRI, IOP-FL and their baselines), or routed, of an outside hospital.

    Attributes:
        job, site: of which run and hospital it is.
        task: `reconstruction` or `segmentation`.
        network: settings for :func:`flare_mri.networks.build_network`.
        state: of the network, or of the routed one.
        spatial_size: (H, W) of the slices that it was trained on, or adapted to.
        orientations: axis codes of those volumes as the network saw them, such as `RAS`; empty where not known.
        slice_axis: axis of the slices in them; None in models of before this was kept: that of the site's settings.
        experts: names of the models that a routed network mixes; empty where it is not routed.
        batch_size: slices in a batch at most, whose statistics are part of a routed network.
        acquisition: of the scans that it learned to reconstruct; None for segmentation, and in models of before this
            was kept.
        plan: of segmentation: what the network marks, and in what pieces it sees a volume.
        calibration: of the Dice that is predicted of its segmentations; None: the published one.
        organ_sizes: in the labels that it learned from; None where they are not known.
        own_dice: its mean Dice in test volumes of its own site, or that of the models it was made of in those of
            theirs; in [0, 1]. None where it was not scored.
        distance: of an outside site from the federation, see :func:`flare_mri.routing.statistics.find_distance`; None
            where it is not known.
        checksum: of the file it was read from; empty where it comes from none.
    """

    job: str
    site: str
    task: str
    network: dict[str, Any]
    state: Mapping[str, Tensor]
    spatial_size: tuple[int, int]
    orientations: tuple[str, ...] = ()
    slice_axis: int | None = None
    experts: tuple[str, ...] = ()
    batch_size: int = 16
    acquisition: Acquisition | None = None
    plan: SegmentationPlan = SegmentationPlan()
    calibration: Calibration | None = None
    organ_sizes: OrganSizes | None = None
    own_dice: float | None = None
    distance: float | None = None
    checksum: str = field(default="", compare=False)

    def description(self) -> dict[str, Any]:
        """All but the state, for the file's metadata."""
        texts = {key: getattr(self, key) for key in _TEXTS}
        lists = {key: list(getattr(self, key)) for key in ("spatial_size", *_LISTS)}
        numbers = {"batch_size": self.batch_size, "slice_axis": self.slice_axis}
        acquired = {} if self.acquisition is None else {"acquisition": self.acquisition.as_dict()}
        fitted = {} if self.calibration is None else {"calibration": self.calibration.as_dict()}
        sizes = {} if self.organ_sizes is None else {"organ_sizes": self.organ_sizes.as_dict()}
        known = {key: value for key in _KNOWN if (value := getattr(self, key)) is not None}
        plan = self.plan.model_dump(mode="json") if self.task == SEGMENTATION else {}
        described = {"format": _FORMAT, **texts, "network": self.network, **lists, **numbers, **acquired}
        return {**described, **plan, **fitted, **sizes, **known}

    def check_knows(self, where: object, spatial_size: tuple[int, int]) -> None:
        """Refuses slices of another size than the model was made with, for which it would give bad results.

        Raises:
            InputError: names the scan, `where`.
        """
        if spatial_size != self.spatial_size:
            raise InputError(
                f"{where}: expected slices of {list(self.spatial_size)}, which the model was made with, got "
                f"{list(spatial_size)}; set data.spatial_size in site.yaml as it was for the job"
            )

    def build(self) -> nn.Module:
        """The network with this state, on the CPU, in evaluation mode.

        Raises:
            InputError: the state is not one of that network.
        """
        try:
            network = self._build_routed() if self.experts else self._build_plain()
        except InputError as error:
            raise InputError(f"site {self.site}, model of {self.job}: {error}") from error
        network.load_state_dict(self.state)
        return network.eval()

    def _build_plain(self) -> nn.Module:
        check_fits(self.network, self.state)
        return build_network(self.network, seed=0)

    def _build_routed(self) -> nn.Module:
        needed = len(self.experts) * sum(value.numel() for value in build_meta_state(self.network).values())
        stored = sum(value.numel() for value in self.state.values())
        if needed > 2 * stored:  # before memory is taken for what the description claims
            raise InputError(
                f"network {self.network['path']}: expected the layers of {len(self.experts)} models, got {stored} "
                "values; the model is another network's"
            )
        plain = build_network(self.network, seed=0)
        routed = build_routed_network(plain, [plain.state_dict()] * len(self.experts), names=self.experts)
        check_state(self.network, routed.state_dict(), self.state)
        return routed


def load_personal_model(path: Path) -> PersonalModel:
    """Reads what a job left for this hospital; nothing in the file is trusted.

    Raises:
        InputError: no such file, no safetensors, another format, a checksum that does not match, a description that
            lacks something, or values that are not finite; the message names the file.
    """
    described, tensors, checksum = read_tensor_file("model", path, _FORMAT, _ORIGIN)
    try:
        for key, tensor in tensors.items():
            check_tensor(key, tensor, f"give {_ORIGIN}")
        if not all(isinstance(described.get(key), str) for key in _TEXTS):
            raise InputError(f"description: expected {', '.join(_TEXTS)}, got others; give {_ORIGIN}")
        if described["task"] not in (RECONSTRUCTION, SEGMENTATION):
            raise InputError(f"task: expected {RECONSTRUCTION} or {SEGMENTATION}, got {described['task']!r}; update")
        network, batch = described.get("network"), described.get("batch_size")
        if not isinstance(network, dict):
            raise InputError(f"network: expected its settings, got none; give {_ORIGIN}")
        for key in _LISTS:
            if not isinstance(described.get(key), list) or not all(isinstance(name, str) for name in described[key]):
                raise InputError(f"{key}: expected a list of names, got another value; give {_ORIGIN}")
        if not all(AXCODES.fullmatch(codes) for codes in described["orientations"]):
            raise InputError(f"orientations: expected axis codes such as RAS, got others; give {_ORIGIN}")
        if not isinstance(batch, int) or not 2 <= batch <= 4096:
            raise InputError(f"batch_size: expected 2 to 4096, got {batch!r}; give {_ORIGIN}")
        size = described.get("spatial_size", described.get("matrix"))  # its name in models of before
        if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
            raise InputError(f"spatial_size: expected two sizes, got {size!r}; give {_ORIGIN}")
        axis = described.get("slice_axis")
        if axis is not None and (type(axis) is not int or not 0 <= axis <= 2):
            raise InputError(f"slice_axis: expected 0, 1 or 2, got {axis!r}; give {_ORIGIN}")
        acquired = described.get("acquisition")
        named: dict[str, Any] = {"acquisition": None if acquired is None else acquisition_from(acquired)}
        fitted = described.get("calibration")
        named["calibration"] = None if fitted is None else Calibration.read(fitted)
        sizes = described.get("organ_sizes")
        named["organ_sizes"] = None if sizes is None else organ_sizes_from(sizes)
        for key, most in _KNOWN.items():
            value = named[key] = described.get(key)
            if value is not None and not (type(value) in (int, float) and 0 <= value <= most):
                raise InputError(f"{key}: expected 0 to {most:g}, got {value!r:.40}; give {_ORIGIN}")
        named |= {key: described[key] for key in _TEXTS}
        named["plan"] = SegmentationPlan.read({key: described[key] for key in PLAN if key in described}, "its plan")
        named |= {key: tuple(described[key]) for key in _LISTS}
        named |= {"spatial_size": (size[0], size[1]), "slice_axis": axis, "batch_size": batch}
        return PersonalModel(**named, network=network, state=tensors, checksum=checksum)
    except InputError as error:
        raise InputError(f"model {path}: {error}") from error
