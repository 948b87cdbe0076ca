# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI files with their k-space: multi-coil and single-coil, training layout and test layout.

Zbontar et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", arXiv 1811.08839: `kspace` [S, C, H, W]
or [S, H, W], centred and orthonormal, H the readout; `reconstruction_rss` or, for a single coil, `reconstruction_esc`
[S, h, w] where it is fully sampled; `mask` in the test layout. The layout does not say where the image lies.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from flare_mri.errors import InputError
from flare_mri.files import MOST_SLICE_VALUES, reading
from flare_mri.io.fastmri_layout import HEADER, IMAGES, check_array, read_header
from flare_mri.io.hdf5 import MOST_CHUNK, check_chunks, is_there, own_child
from flare_mri.io.raw.build import build_scan, make_target
from flare_mri.io.raw.checks import check_finite, check_size
from flare_mri.io.raw.header import Header
from flare_mri.io.raw.readout import crop_lines, kept_samples, nearest_samples
from flare_mri.io.raw.sampling import check_mask, mask_of_zeros, shape_mask
from flare_mri.io.raw.scan import RawScan

_SAME = 0.01  # relative distance of a stored image from the zero-filled one below which it is no other image
_OTHER = 0.1  # relative distance of a stored target from that of k-space at which they are not the same scan's


def read_fastmri_raw(path: Path) -> RawScan:
    """Reads one scan; readout oversampling is removed in image space where the header says that there is some.

    Raises:
        InputError: cut short or damaged, finished magnitudes alone, k-space that is not complex, finite or centred, a
            header or a mask that contradicts it, or more than the file can hold.
    """
    with reading(path), h5py.File(path, "r", rdcc_nbytes=MOST_CHUNK) as file:
        header = read_header(file)
        kspace = _read_kspace(path, file)
        stored = _read_mask(path, file, kspace)
        mask, notes = (mask_of_zeros(kspace), ()) if stored is None else check_mask(path, kspace, stored)
        field, trusted = _field_of_view(path, header, kspace.shape)
        kspace, mask, removed = _remove_oversampling(kspace, mask, header)
        if not header.encodings and is_there(file, HEADER):
            notes = (
                *notes,
                "ismrmrd_header cannot be read: no field of view, and oversampling stays where there is some",
            )
        scan = build_scan(path, kspace, mask, (*notes, *trusted, *removed))
        return _with_target(replace(scan, field_of_view=field), _read_target(path, file, single=kspace.shape[1] == 1))


def _read_kspace(path: Path, file: h5py.File) -> np.ndarray:
    """All of it, complex64 [S, C, H, W]."""
    if not is_there(file, "kspace"):
        images = [name for name in IMAGES if is_there(file, name)]
        got = f"finished magnitudes alone ({', '.join(images)})" if images else ", ".join(islice(file, 8)) or "nothing"
        raise InputError(
            f"{path}: expected `kspace` as the scanner measured it, got {got}; give files with k-space, or simulate it "
            "from magnitudes"
        )
    where = f"{path}: kspace"
    data = own_child(path, file, "kspace", h5py.Dataset)
    check_array(where, data, is_kspace=True)
    if data.dtype.kind != "c":
        raise InputError(f"{where}: expected complex numbers, got {data.dtype} (magnitudes?); give measured k-space")
    shape = data.shape if data.ndim == 4 else (data.shape[0], 1, *data.shape[1:])
    check_size(where, *shape)
    kspace = np.empty(shape, np.complex64)
    for index in range(len(kspace)):
        values = data[index]
        check_finite(f"{where}: slice {index}", values)
        kspace[index] = values
    return kspace


def _read_mask(path: Path, file: h5py.File, kspace: np.ndarray) -> np.ndarray | None:
    """The file's mask, bool [S, H, W]; None where it has none."""
    if not is_there(file, "mask"):
        return None
    where = f"{path}: mask"
    data = own_child(path, file, "mask", h5py.Dataset)
    if data.dtype.kind not in "biuf" or data.size is None or not 0 < data.size <= MOST_SLICE_VALUES:
        raise InputError(f"{where}: expected 0 and 1, one a sample, got {data.dtype} {data.shape}; leave it out")
    check_chunks(where, data)
    slices, _, height, width = kspace.shape
    return shape_mask(where, data[()], (slices, height, width))


def _field_of_view(
    path: Path, header: Header, shape: tuple[int, ...]
) -> tuple[tuple[float, float, float] | None, tuple[str, ...]]:
    """mm along H, W and from slice to slice, and a note where the header does not fit k-space along W.

    Raises:
        InputError: it does not fit along H: nobody knows what of the readout is oversampling.
    """
    if header.encoded is None:
        return None, ()
    height, width = shape[2:]
    encoded = header.encoded.matrix
    kept = kept_samples(header, encoded[0])
    if height not in (encoded[0], kept):
        raise InputError(
            f"{path}: expected the {encoded[0]} samples a line of its ismrmrd_header, got {height} in kspace "
            f"{list(shape)}; write the header of this scan (H is the readout), or none"
        )
    if width != encoded[1]:
        return None, (f"no field of view: kspace has {width} lines, its ismrmrd_header {encoded[1]}",)
    if header.encoded.field is None:
        return None, ()
    mm = header.encoded.field
    image = header.recon.field if header.recon else None
    readout = image[0] if image and kept < encoded[0] else mm[0]
    return (readout, mm[1], header.encoded.slice_distance), ()


def _remove_oversampling(
    kspace: np.ndarray, mask: np.ndarray, header: Header
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """k-space, mask and a note, without the outer parts of the readout's field of view."""
    encoded = kspace.shape[2]
    kept = encoded if header.encoded is None else kept_samples(header, header.encoded.matrix[0])
    if kept >= encoded:
        return kspace, mask, ()
    rows, lines = np.asarray(mask.any((0, 2))), np.asarray(mask.any(1))
    if (mask != rows[None, :, None] & lines[:, None]).any():
        return kspace, mask, (f"readout oversampling stays ({encoded} samples for {kept}): lines are not whole",)
    rows = rows[nearest_samples(encoded, kept)]
    cropped = np.empty((*kspace.shape[:2], kept, kspace.shape[3]), np.complex64)
    for index, values in enumerate(kspace):
        cropped[index] = crop_lines(values.swapaxes(-1, -2), kept).swapaxes(-1, -2) * rows[:, None] * lines[index]
    note = f"readout oversampling removed: {encoded} samples to {kept}"
    return cropped, rows[None, :, None] & lines[:, None], (note,)


def _read_target(path: Path, file: h5py.File, single: bool) -> np.ndarray | None:
    """The stored magnitudes [S, h, w] of the fully sampled scan; None where there are none."""
    name = "reconstruction_esc" if single and is_there(file, "reconstruction_esc") else "reconstruction_rss"
    if not is_there(file, name):
        return None
    data = own_child(path, file, name, h5py.Dataset)
    check_array(f"{path}: {name}", data, is_kspace=False)
    images = data[()].astype(np.float32)
    check_finite(f"{path}: {name}", images)
    return images


def _with_target(scan: RawScan, stored: np.ndarray | None) -> RawScan:
    """The scan with the stored target where that has the size of k-space, else with that of k-space."""
    if stored is None:
        return scan
    if stored.shape != scan.mask.shape:
        note = f"the stored images {list(stored.shape)} have another size than k-space {list(scan.mask.shape)}"
        return replace(scan, notes=(*scan.notes, f"{note}: not used"))
    if scan.target is None:
        if _distance(make_target(scan.kspace), stored) < _SAME:
            note = "the stored images are those of the undersampled k-space, aliasing and all: not used"
            return replace(scan, notes=(*scan.notes, note))
    else:
        distance = _distance(scan.target, stored)
        if distance > _OTHER:
            note = f"the stored images differ from those of k-space by {100 * distance:.0f} %: not used"
            return replace(scan, notes=(*scan.notes, note))
    return replace(scan, target=stored)


def _distance(found: np.ndarray, stored: np.ndarray) -> float:
    """Relative distance of images from stored ones, whatever the scale of the former."""
    own = found * np.float32(np.vdot(found, stored) / max(np.vdot(found, found), 1e-30))
    return float(np.linalg.norm(own - stored)) / max(float(np.linalg.norm(stored)), 1e-30)
