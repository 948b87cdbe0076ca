# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The readout: where its samples lie in k-space, and the oversampling that scanners add and nobody needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_mri.errors import InputError
from flare_mri.io.raw.header import Header


@dataclass(frozen=True)
class Readout:
    """How acquisitions become lines of k-space along H.

    Attributes:
        encoded: samples of a whole oversampled line.
        kept: samples after oversampling was removed.
        used: the samples of an acquisition that are used, less those to discard.
        start: where the first of them lies on the whole line.
        measured: bool [kept], which samples of the line were measured; the rest stays 0.
        notes: what was done.
    """

    encoded: int
    kept: int
    used: slice
    start: int
    measured: np.ndarray
    notes: tuple[str, ...] = ()


def kept_samples(header: Header, encoded: int) -> int:
    """Samples of the readout's part that the image shows: `encoded` times the ratio of both fields of view.

    Where the header has no fields of view, the matrix of the image decides.
    """
    before, after = header.encoded, header.recon
    if before is None or after is None:
        return encoded
    if before.field and after.field:
        return min(encoded, max(1, round(encoded * after.field[0] / before.field[0])))
    return min(encoded, after.matrix[0])


def find_readout(path: Path, header: Header, heads: np.ndarray) -> Readout:
    """The readout of acquisitions, by the header and their own headers.

    Args:
        path: for messages.
        header: with an encoded space.
        heads: of the acquisitions with lines of the image.

    Raises:
        InputError: they differ among each other or do not fit the header's matrix.
    """
    if header.encoded is None:
        raise InputError(f"{path}: header: expected the matrix of the encoded space, got none; export the scan again")
    encoded = header.encoded.matrix[0]
    fields = ("number_of_samples", "center_sample", "discard_pre", "discard_post")
    for name in fields:
        if (heads[name] != heads[name][0]).any():
            values = np.unique(heads[name])[:4].tolist()
            raise InputError(
                f"{path}: expected acquisitions of one readout, got {name} {', '.join(map(str, values))}; export each "
                "readout as a file of its own"
            )
    samples, centre, before, after = (int(heads[name][0]) for name in fields)
    if not 1 <= samples - before - after <= encoded or samples > 2 * encoded:
        raise InputError(
            f"{path}: expected at most {encoded} samples a line, as the header's matrix says, got {samples}; export "
            "the scan again"
        )
    notes = []
    if centre == 0 and samples - before - after == encoded > 1:
        centre = before + encoded // 2
        notes.append("center_sample is 0 in whole lines: taken as not set, the middle is used")
    start = encoded // 2 - centre + before
    if start < 0 or start + samples - before - after > encoded:
        raise InputError(
            f"{path}: expected the centre of {samples} samples to fit a line of {encoded}, got center_sample {centre}; "
            "export the scan again"
        )
    kept = kept_samples(header, encoded)
    if kept < encoded:
        notes.append(f"readout oversampling removed: {encoded} samples to {kept}")
    line = np.zeros(encoded, bool)
    line[start : start + samples - before - after] = True
    measured = line[nearest_samples(encoded, kept)]
    return Readout(encoded, kept, slice(before, samples - after), start, measured, tuple(notes))


def nearest_samples(encoded: int, kept: int) -> np.ndarray:
    """For each sample of the shorter line the one of the longer line next to it."""
    places = encoded // 2 + (np.arange(kept) - kept // 2) * (encoded / kept)
    return np.clip(np.rint(places).astype(int), 0, encoded - 1)


def crop_readout(samples: np.ndarray, readout: Readout) -> np.ndarray:
    """Lines without oversampling: the outer parts of their image are cut off.

    Args:
        samples: complex64 [..., samples], of acquisitions.
        readout: where they lie.

    Returns:
        complex64 [..., kept], 0 where nothing was measured.
    """
    used = samples[..., readout.used]
    line = np.zeros((*samples.shape[:-1], readout.encoded), np.complex64)
    line[..., readout.start : readout.start + used.shape[-1]] = used
    return crop_lines(line, readout.kept) * readout.measured if readout.kept < readout.encoded else line


def crop_lines(lines: np.ndarray, kept: int) -> np.ndarray:
    """Centred orthonormal k-space complex [..., N] to that of the middle `kept` pixels of its image, [..., kept]."""
    size = lines.shape[-1]
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(lines, axes=-1), norm="ortho"), axes=-1)
    first = size // 2 - kept // 2
    middle = image[..., first : first + kept]
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(middle, axes=-1), norm="ortho"), axes=-1).astype(np.complex64)
