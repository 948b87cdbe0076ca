# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Where the image of an ISMRMRD scan lies in the patient, from the acquisitions' positions and directions.

They are in mm in DICOM's coordinates (LPS: to the patient's left, back and head); NIfTI's are RAS. The position is
that of the image's middle voxel, [H // 2, W // 2], on which the centred Fourier transform is centred.
"""

from dataclasses import dataclass

import numpy as np

from flare_mri.io.raw.header import Header
from flare_mri.io.scan import is_usable_affine

_ANGLE = 1e-3  # by how much directions may differ from orthogonal ones of length 1
_DISTANCE = 0.02  # mm, or of the distance of slices, by which their positions may differ from even ones
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Place:
    """Affine [4, 4] from voxel indices (h, w, s) to mm, RAS, and mm of the field of view; None where unknown."""

    geometry: np.ndarray | None
    field_of_view: tuple[float, float, float] | None
    notes: tuple[str, ...] = ()


def place_slices(header: Header, heads: np.ndarray, slices: np.ndarray, shape: tuple[int, ...]) -> Place:
    """Affine and field of view of the image, nothing guessed.

    Args:
        header: of the file.
        heads: [n] of the lines' acquisitions.
        slices: [n], the slice of each, from 0.
        shape: (S, C, H, W) of k-space.
    """
    number, _, height, width = shape
    if header.encoded is None or header.encoded.field is None:
        return Place(None, None, ("no geometry: the header has no field of view",))
    size = header.encoded.matrix
    spacing = header.encoded.field[0] / size[0], header.encoded.field[1] / size[1]
    notes = []
    if header.recon is not None and header.recon.field is not None:  # what is kept of the readout is its whole field
        wanted = header.recon.field
        spacing = (wanted[0] / height if height < size[0] else spacing[0]), spacing[1]
        if wanted[1] < 0.99 * header.encoded.field[1]:
            notes.append(
                f"phase oversampling stays: {header.encoded.field[1]:g} mm along W, {wanted[1]:g} were asked for"
            )
    thickness = header.encoded.slice_distance
    field = spacing[0] * height, spacing[1] * width, thickness
    affine, why = _affine(heads, slices, (number, height, width), (*spacing, thickness))
    if affine is None:
        return Place(None, field, (*notes, f"no geometry: {why}"))
    return Place(affine, (field[0], field[1], float(np.linalg.norm(affine[:3, 2]))), tuple(notes))


def _affine(
    heads: np.ndarray, slices: np.ndarray, shape: tuple[int, int, int], mm: tuple[float, float, float]
) -> tuple[np.ndarray | None, str]:
    """Affine of voxels of size `mm`, or None and why there is none."""
    number, height, width = shape
    first = np.array([np.flatnonzero(slices == index)[0] for index in range(number)])
    vectors = {name: heads[name].astype(np.float64) for name in ("position", "read_dir", "phase_dir", "slice_dir")}
    if not any(vectors[name].any() for name in ("read_dir", "phase_dir", "slice_dir")):
        return None, "the acquisitions have no directions"
    why = _contradiction(vectors, first[slices])
    if why:
        return None, why
    position = vectors["position"][first]
    step = _slice_step(position, vectors["slice_dir"][0], mm[2])
    if step is None:
        return None, "the slices lie at no even distances in the order of idx.slice"
    affine = np.eye(4)
    columns = (vectors["read_dir"][0] * mm[0], vectors["phase_dir"][0] * mm[1], step)
    affine[:3, :3] = _TO_RAS @ np.stack(columns, axis=1)
    affine[:3, 3] = _TO_RAS @ position[0] - affine[:3, :2] @ (height // 2, width // 2)
    if not is_usable_affine(affine):
        return None, "positions and directions lead to no place near the scanner"
    return affine, ""


def _contradiction(vectors: dict[str, np.ndarray], first: np.ndarray) -> str:
    """Why positions and directions cannot be used; empty where they can."""
    if not all(np.isfinite(values).all() for values in vectors.values()):
        return "positions or directions are not finite"
    if np.abs(vectors["position"] - vectors["position"][first]).max() > _DISTANCE:
        return "lines of one slice have different positions"
    directions = [vectors[name] for name in ("read_dir", "phase_dir", "slice_dir")]
    if any(np.abs(values - values[0]).max() > _ANGLE for values in directions):
        return "slices have different directions"
    frame = np.stack([values[0] for values in directions])
    if np.abs(frame @ frame.T - np.eye(3)).max() > _ANGLE:
        return "directions are not at right angles or not of length 1"
    return ""


def _slice_step(position: np.ndarray, normal: np.ndarray, thickness: float) -> np.ndarray | None:
    """mm from slice to slice, [3]; None where the slices are not evenly spaced along their normal.

    A single slice is as thick as the header says.
    """
    if len(position) == 1:
        return normal * thickness
    steps = np.diff(position, axis=0)
    mean = steps.mean(0)
    length = float(np.linalg.norm(mean))
    tolerance = max(_DISTANCE, _DISTANCE * length)
    if np.abs(steps - mean).max() > tolerance or abs(abs(mean @ normal) - length) > tolerance or length < _DISTANCE:
        return None
    return mean
