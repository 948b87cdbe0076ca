# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Writes raw scans in each of the formats: for tests, fuzzing and demonstrations."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from flare_mri.datasets.phantom_kspace import PhantomKspace, simulate_coils
from flare_mri.io.fastmri import HEADER
from flare_mri.io.raw.acquisitions import import_ismrmrd

_SPACE = (
    "<{name}><matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{mm[0]}</x><y>{mm[1]}</y><z>{mm[2]}</z></fieldOfView_mm></{name}>"
)


@dataclass(frozen=True)
class Position:
    """Where slices lie: middle of the first, directions of readout, phase encoding and slices; LPS, mm."""

    first: tuple[float, float, float] = (10.0, -20.0, 30.0)
    read: tuple[float, float, float] = (1.0, 0.0, 0.0)
    phase: tuple[float, float, float] = (0.0, 1.0, 0.0)
    slice: tuple[float, float, float] = (0.0, 0.0, 1.0)


def sample_scan(
    rng: np.random.Generator, shape: tuple[int, int, int] = (3, 24, 20), coils: int = 3, snr: float = 60.0
) -> PhantomKspace:
    """A small scan [S, C, H, W] of an ellipse with a few others in it."""
    slices, height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    images = np.zeros(shape)
    for image in images:
        image[(x / 0.75) ** 2 + (y / 0.85) ** 2 < 1] = 0.5
        for place in rng.uniform(-0.4, 0.4, (4, 2)):
            image[((x - place[0]) ** 2 + (y - place[1]) ** 2) < rng.uniform(0.02, 0.08)] = rng.uniform(0.2, 1)
    return simulate_coils(images, rng, coils, snr)


def make_header(
    matrix: tuple[int, int],
    mm: tuple[float, float, float] = (240.0, 200.0, 5.0),
    oversampling: int = 1,
    slices: int = 1,
    centre: int | None = None,
    trajectory: str = "cartesian",
    coils: int = 1,
) -> str:
    """An ISMRMRD header of k-space [H, W] = `matrix` and its field of view, before oversampling of the readout."""
    encoded = _SPACE.format(
        name="encodedSpace", x=oversampling * matrix[0], y=matrix[1], mm=(oversampling * mm[0], *mm[1:])
    )
    recon = _SPACE.format(name="reconSpace", x=matrix[0], y=matrix[1], mm=mm)
    middle = matrix[1] // 2 if centre is None else centre
    limit = "<{0}><minimum>0</minimum><maximum>{1}</maximum><center>{2}</center></{0}>"
    limits = limit.format("kspace_encoding_step_1", matrix[1] - 1, middle) + limit.format("slice", slices - 1, 0)
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><acquisitionSystemInformation>'
        f"<receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation><experimentalConditions>"
        "<H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"{encoded}{recon}<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding>"
        "</ismrmrdHeader>"
    )


def write_fastmri_raw(
    path: Path,
    kspace: np.ndarray,
    mask: np.ndarray | None = None,
    target: np.ndarray | None = None,
    header: str | None = None,
) -> Path:
    """Writes k-space [S, C, H, W] or [S, H, W] in fastMRI's layout: with a target as for training, or with a mask."""
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        if mask is not None:
            file["mask"] = mask
        if target is not None:
            file["reconstruction_rss" if kspace.ndim == 4 else "reconstruction_esc"] = target.astype(np.float32)
        if header is not None:
            file[HEADER] = header
    return path


def write_bart(path: Path, kspace: np.ndarray) -> Path:
    """Writes k-space [S, C, H, W] as `.cfl` and `.hdr`; returns the path of the `.cfl`."""
    slices, coils, height, width = kspace.shape
    sizes = [height, width, 1, coils, *[1] * 9, slices, 1, 1]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + " \n")
    kspace.transpose(2, 3, 1, 0).astype("<c8").ravel(order="F").tofile(path.with_suffix(".cfl"))
    return path.with_suffix(".cfl")


def write_ismrmrd(
    path: Path,
    kspace: np.ndarray,
    lines: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    mm: tuple[float, float, float] = (240.0, 200.0, 5.0),
    oversampling: int = 2,
    position: Position | None = None,
    averages: int = 1,
    header: str | None = None,
) -> Path:
    """Writes k-space [S, C, H, W] as a scanner would: lines with oversampling, slices interleaved, odd ones last.

    Args:
        path: the file.
        kspace: complex, centred.
        lines: numbers along W to write; all.
        noise: complex [C, N], an acquisition of noise; none.
        mm: field of view along H and W, and from slice to slice.
        oversampling: of the readout.
        position: of the slices; the standard one.
        averages: how often each line is written.
        header: XML; that of these arguments.
    """
    package = import_ismrmrd(path)
    slices, coils, height, width = kspace.shape
    place = position or Position()
    oversampled = _oversample(kspace, oversampling * height)
    acquisitions = []
    if noise is not None:
        acquisition = package.Acquisition.from_array(noise.astype(np.complex64), center_sample=0)
        acquisition.sample_time_us = 5.0
        acquisition.setFlag(package.ACQ_IS_NOISE_MEASUREMENT)
        acquisitions.append(acquisition)
    order = [*range(0, slices, 2), *range(1, slices, 2)]
    for average, index in [(average, index) for average in range(averages) for index in order]:
        for line in np.arange(width) if lines is None else np.flatnonzero(lines) if lines.dtype == bool else lines:
            samples = np.ascontiguousarray(oversampled[index, :, :, line], np.complex64)
            acquisition = package.Acquisition.from_array(samples, center_sample=oversampling * height // 2)
            acquisition.sample_time_us = 5.0
            acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = int(line), index
            acquisition.idx.average = average
            acquisition.position[:] = tuple(np.array(place.first) + index * mm[2] * np.array(place.slice))
            acquisition.read_dir[:], acquisition.phase_dir[:] = place.read, place.phase
            acquisition.slice_dir[:] = place.slice
            acquisitions.append(acquisition)
    text = header or make_header((height, width), mm, oversampling, slices, coils=coils)
    with h5py.File(path, "w") as file:
        wrapper = package.file.Acquisitions
        rows = np.array([wrapper.to_numpy(acquisition) for acquisition in acquisitions], wrapper.datatype)
        file.create_dataset("dataset/data", data=rows, maxshape=(None,), chunks=(1,))
        file.create_dataset("dataset/xml", data=[text.encode()], dtype=h5py.string_dtype())
    return path


def _oversample(kspace: np.ndarray, size: int) -> np.ndarray:
    """k-space [S, C, H, W] with `size` samples along H: of the same image with air on both sides."""
    height = kspace.shape[2]
    if size == height:
        return kspace
    axes = (2,)
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes), axis=2, norm="ortho"), axes)
    wide = np.zeros((*kspace.shape[:2], size, kspace.shape[3]), np.complex128)
    first = size // 2 - height // 2
    wide[:, :, first : first + height] = image
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(wide, axes), axis=2, norm="ortho"), axes)


def write_raw_samples(folder: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Writes a small scan in each format; returns format -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = sample_scan(rng)
    height, width = scan.kspace.shape[2:]
    lines = np.isin(np.arange(width), [*range(0, width, 2), *range(width // 2 - 2, width // 2 + 2)])
    header = make_header((height, width), slices=len(scan.kspace))
    return {
        "fastmri": write_fastmri_raw(folder / "fastmri.h5", scan.kspace, header=header),
        "fastmri-test": write_fastmri_raw(folder / "test.h5", scan.kspace * lines, mask=lines, header=header),
        "ismrmrd": write_ismrmrd(folder / "ismrmrd.h5", scan.kspace, lines, scan.noise),
        "bart": write_bart(folder / "bart.cfl", scan.kspace * lines),
    }
