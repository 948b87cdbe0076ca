# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Image files: NIfTI, labelled NIfTI, PNG, fastMRI's HDF5 and DICOM."""

import gzip
import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from hostile_dicom import dicom_files
from hostile_hdf5 import hdf5_files
from mutators import Base, Case, Kind
from PIL import Image

from flare_mri.config.mask import MaskSettings
from flare_mri.config.site import CacheSettings, SiteConfig, SplitSettings
from flare_mri.datasets.cache_folder import site_folder
from flare_mri.datasets.volumes import open_volumes
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION, read_data_settings

REAL = Path(os.environ.get("FLARE_MRI_DATA", Path(__file__).parents[3] / "shared" / "data"))
VOLUME = (np.random.default_rng(0).random((12, 10, 6)) * 1000 + 1).astype(np.int16)
LABEL = np.zeros(VOLUME.shape, np.uint8)
LABEL[3:8, 2:7, 1:4] = 1
pack = partial(gzip.compress, compresslevel=1, mtime=0)


def config(folder: Path, name: str, **data: Any) -> SiteConfig:
    """Settings of a site whose data lie in `folder`."""
    cache = CacheSettings(folder=folder.parent / "cache")
    settings = read_data_settings({"format": name, "root": str(folder), **data}, "site 'site-1'", folder)
    return SiteConfig(site="site-1", data=settings, split=SplitSettings(by="volume"), mask=MaskSettings(), cache=cache)


def read_slices(folder: Path, name: str, task: str, **data: Any) -> list[np.ndarray]:
    """All slices of all volumes, without what an earlier case left in the cache."""
    return [volume.slices[:] for volume in open_volumes(_fresh(config(folder, name, **data)), task)]


def read_volumes(folder: Path, name: str) -> list[np.ndarray]:
    """All slices of all images."""
    return read_slices(folder, name, RECONSTRUCTION)


def read_labelled(folder: Path, name: str, datalist: str = "") -> list[np.ndarray]:
    """As `read_volumes`, with labels."""
    more = {"datalist": str(folder / datalist)} if datalist else {}
    return read_slices(folder, name, SEGMENTATION, **more)


def _fresh(config: SiteConfig) -> SiteConfig:
    for path in site_folder(config.cache.folder, config.site).glob("*.npy"):
        path.unlink()
    return config


def nifti_bytes(array: np.ndarray, kind: type = nibabel.Nifti1Image, big: bool = False) -> bytes:
    """An uncompressed NIfTI file."""
    image = kind(array, np.eye(4))
    if big:
        image = kind(array.astype(array.dtype.newbyteorder(">")), np.eye(4), image.header.as_byteswapped(">"))
    return image.to_bytes()


def nifti_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Four encodings of one volume; every field of the header at its extremes; gzip bombs."""
    plain = nifti_bytes(VOLUME)
    bases = [
        Base("a.nii", plain),
        Base("a.nii.gz", nifti_bytes(VOLUME.astype(np.float32)), pack),
        Base("a.nii.gz", nifti_bytes(VOLUME, nibabel.Nifti2Image), pack),
        Base("a.nii", nifti_bytes(VOLUME, big=True)),
    ]
    hostile = []
    for content, label in header_extremes(plain, nibabel.Nifti1Header):
        hostile += [Case("a.nii", content, label), Case("a.nii.gz", pack(content), f"gz {label}")]
    wide = nifti_bytes(VOLUME, nibabel.Nifti2Image)
    hostile += [
        Case("a.nii", content, f"nifti-2 {label}") for content, label in header_extremes(wide, nibabel.Nifti2Header)
    ]
    return bases, hostile + [Case("a.nii.gz", content, label) for content, label in bombs(plain)]


def header_extremes(content: bytes, kind: Any) -> list[tuple[bytes, str]]:
    """The file with one field of its header changed, for each field and extreme value."""
    size = kind.sizeof_hdr
    values = {
        "sizeof_hdr": (0, -1, 348, 540, 2**31 - 1),
        "dim": (-1, 0, 1, 7, 8, 32767),
        "datatype": (0, 1, 8, 32, 64, 128, 512, 1024, 1280, 1536, 1792, 2048, 2304, 9999, -1),
        "bitpix": (0, -1, 32767),
        "vox_offset": (0, -1, 351, 353, 1e9, 2**40),
        "scl_slope": (0, float("nan"), float("inf"), -1, 1e38),
        "scl_inter": (float("nan"), float("-inf"), 1e38),
        "pixdim": (0, -1, float("nan"), float("inf")),
        "magic": (b"", b"ni1", b"n+9", b"\xff\xff\xff\xff"),
    }
    found = []
    for field, extremes in values.items():
        for extreme in extremes:
            for place in range(5) if field == "dim" else (None,):
                header = np.frombuffer(content[:size], kind.template_dtype).copy()
                with np.errstate(all="ignore"):
                    target = header[field][0] if place is not None else header[field]
                    try:
                        target[slice(None) if place is None else place] = extreme
                    except OverflowError:  # the field is too small for it
                        continue
                found.append((header.tobytes() + content[size:], f"{field}[{place}] = {extreme}"))
    huge = np.frombuffer(content[:size], kind.template_dtype).copy()
    huge["dim"][0][:4] = (3, 32767, 32767, 32767)
    found.append((huge.tobytes() + content[size:], "dim = 32767 cubed"))
    for length in (0, 8, -8, 2**31 - 1, -(2**31)):  # an extension and its length
        start = content[:size] + b"\1\0\0\0" + struct.pack("<ii", length, 6) + bytes(64)
        header = np.frombuffer(start[:size], kind.template_dtype).copy()
        header["vox_offset"] = len(start)
        found.append((header.tobytes() + start[size:] + content[size + 4 :], f"extension of {length} bytes"))
    return found


def bombs(plain: bytes) -> list[tuple[bytes, str]]:
    """Small gzip files that stand for gigabytes of zeros."""
    member = gzip.compress(bytes(2**26), 9, mtime=0)
    header = np.frombuffer(plain[:348], nibabel.Nifti1Header.template_dtype).copy()
    found = [(pack(plain) + member * 64, "4 GiB behind the voxels")]
    for name, shape in (("over the limit", (2048, 2048, 2048)), ("more than it holds", (512, 512, 256))):
        header["dim"][0][:4] = (3, *shape)
        found.append((pack(header.tobytes() + bytes(4)) + member * (160 if "over" in name else 1), f"a bomb {name}"))
    header["dim"][0][:4], header["vox_offset"] = (3, *VOLUME.shape), 2**33
    found.append((pack(header.tobytes() + bytes(4)) + member * 130, "voxels behind 8 GiB"))
    found.append((b"\x1f\x8b\x08\x00" + bytes(6) + zlib.compress(bytes(2**20)), "a broken stream"))
    return found


def labelled_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """An image and its label, which must fit each other."""
    image, label = nifti_bytes(VOLUME), nifti_bytes(LABEL)
    for name, content in (("Case00.nii.gz", image), ("Case00_segmentation.nii.gz", label)):
        (folder / name).write_bytes(pack(content))
    hostile = [
        Case("Case00_segmentation.nii.gz", pack(c), f"label {what}")
        for c, what in header_extremes(label, nibabel.Nifti1Header)
    ]
    hostile += [Case("Case00.nii.gz", c, what) for c, what in bombs(image)]
    return [Base("Case00.nii.gz", image, pack), Base("Case00_segmentation.nii.gz", label, pack)], hostile


def channel_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Two images in one file, of which the settings take the second."""
    two = nifti_bytes(np.stack([VOLUME, VOLUME[::-1]], 3))
    (folder / "label.nii").write_bytes(nifti_bytes(LABEL))
    (folder / "dataset.json").write_text('{"training": [{"image": "a.nii.gz", "label": "label.nii"}]}')
    hostile = [Case("a.nii.gz", pack(c), what) for c, what in header_extremes(two, nibabel.Nifti1Header)]
    return [Base("a.nii.gz", two, pack)], hostile + [Case("a.nii.gz", c, what) for c, what in bombs(two)]


def png_bytes(array: np.ndarray) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Slices in FLARE's layout, one of them changed."""
    for number in (1, 2):
        for kind, array in (("Image", VOLUME[..., number].astype(np.uint8)), ("Mask", 255 * LABEL[..., number])):
            path = folder / kind / "Case00" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png_bytes(array))
    rows = [f'{{"image": "Image/Case00/{n}.png", "label": "Mask/Case00/{n}.png"}}' for n in (1, 2)]
    (folder / "list.json").write_text(f'{{"testing": [{", ".join(rows)}]}}')
    name, start, end = "Image/Case00/2.png", b"\x89PNG\r\n\x1a\n", _png_chunk(b"IEND", b"")
    hostile = []
    for width, height, bits, colour in (
        (2**31 - 1, 2**31 - 1, 8, 0),
        (65535, 65535, 8, 0),
        (8192, 8192, 16, 0),
        (0, 0, 8, 0),
        (10, 12, 8, 2),
        (10, 12, 3, 9),
    ):
        header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        body = _png_chunk(b"IDAT", zlib.compress(bytes(2**20)))
        hostile.append(Case(name, start + header + body + end, f"{width}x{height}, {bits} bits, colour {colour}"))
    good = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 12, 8, 0, 0, 0, 0))
    for kind in (b"zTXt", b"iCCP"):
        text = _png_chunk(kind, b"k\0\0" + zlib.compress(bytes(2**27)))
        hostile.append(Case(name, start + good + text + end, f"a bomb in {kind.decode()}"))
    hostile += [
        Case(name, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        Case(name, b"GIF89a" + bytes(99), "GIF"),
    ]
    return [
        Base(name, (folder / name).read_bytes()),
        Base("Mask/Case00/1.png", (folder / "Mask/Case00/1.png").read_bytes()),
    ], hostile


def real_files(folder: Path, pattern: str, name: str, most: int = 1) -> tuple[list[Base], list[Case]]:
    """Files that scanners made, where they are present."""
    return [Base(name, path.read_bytes()) for path in sorted(REAL.glob(pattern))[:most]], []


IMAGES = [
    Kind("nifti", 120, nifti_files, partial(read_volumes, name="nifti")),
    Kind("labelled", 80, labelled_files, partial(read_labelled, name="prostate")),
    Kind("channels", 40, channel_files, partial(read_slices, name="decathlon", task=SEGMENTATION, channel=1)),
    Kind("png", 80, png_files, partial(read_labelled, name="datalist_2d", datalist="list.json")),
    Kind("fastmri", 160, hdf5_files, partial(read_volumes, name="fastmri")),
    Kind("dicom", 160, dicom_files, partial(read_volumes, name="dicom")),
    Kind(
        "real-nifti",
        12,
        partial(real_files, pattern="brain/nifti/*.nii.gz", name="a.nii.gz"),
        partial(read_volumes, name="nifti"),
    ),
    Kind(
        "real-labels",
        30,
        partial(real_files, pattern="hippocampus/site-1/*_0*.nii.gz", name="a.nii.gz", most=4),
        partial(read_volumes, name="nifti"),
    ),
    Kind(
        "real-fastmri",
        20,
        partial(real_files, pattern="brain/fastmri-h5/*.h5", name="a.h5", most=2),
        partial(read_volumes, name="fastmri"),
    ),
    Kind(
        "real-dicom",
        40,
        partial(real_files, pattern="brain/*-dicom/*/*.dcm", name="t1/a.dcm", most=20),
        partial(read_volumes, name="dicom"),
    ),
]
