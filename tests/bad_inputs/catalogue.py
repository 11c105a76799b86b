"""Broken and hostile inputs. Each function makes one file and stands with what must be said about it.

`refused`: reading gives a ScanError that holds these words. `defined`: reading gives a scan, and the check holds.
Both are read in one process with little memory, one after the other (see `read_all`).
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import PIL.Image
import pydicom
import SimpleITK as sitk
import tifffile
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless, generate_uid

from tests.scans.dicom_checks import bundled, changed_copy

STACK = np.random.default_rng(0).integers(0, 1000, (4, 24, 20)).astype(np.int16)
NIFTI1, NIFTI2 = 348, 540  # bytes of their headers


@dataclass(frozen=True)
class Refused:
    """A file (or folder) by name, what makes it at a path, and words of its error."""

    name: str
    make: Callable[[Path], None]
    says: str


@dataclass(frozen=True)
class Defined:
    """The same for a file that is read: `holds` is a Python expression about `pixels`."""

    name: str
    make: Callable[[Path], None]
    holds: str


REFUSED: list[Refused] = []
DEFINED: list[Defined] = []


def refused(name: str, says: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def enter(make: Callable[[Path], None]) -> Callable[[Path], None]:
        REFUSED.append(Refused(name, make, says))
        return make

    return enter


def defined(name: str, holds: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def enter(make: Callable[[Path], None]) -> Callable[[Path], None]:
        DEFINED.append(Defined(name, make, holds))
        return make

    return enter


# Whole files of each format; the broken ones are made from them.


def nifti(path: Path, stack: np.ndarray = STACK, **fields: Any) -> None:
    image = nibabel.Nifti1Image(stack.T, np.eye(4))
    for key, value in fields.items():
        image.header[key] = value
    nibabel.save(image, path)


def npy(path: Path, stack: np.ndarray = STACK) -> None:
    np.save(path, stack)


def png(path: Path, picture: np.ndarray | None = None) -> None:
    PIL.Image.fromarray(STACK[0].astype(np.uint8) if picture is None else picture).save(path)


def tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)


def deflated_tiff(path: Path) -> None:
    tiff(path, compression="zlib", metadata=None)


def itk(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(STACK), str(path))


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["reconstruction_rss"] = STACK


def dicom(path: Path, **tags: Any) -> None:
    changed_copy(bundled("MR_small.dcm"), path, **tags)


def packed_dicom(path: Path, syntax: str, data: bytes, **tags: Any) -> None:
    dataset = pydicom.dcmread(bundled("MR_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = encapsulate([data])
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


WHOLE: dict[str, Callable[[Path], None]] = {
    ".nii": nifti,
    ".nii.gz": nifti,
    ".npy": npy,
    ".png": png,
    ".tiff": tiff,
    ".deflated.tiff": deflated_tiff,
    ".mha": itk,
    ".nrrd": itk,
    ".h5": hdf5,
    ".dcm": dicom,
}


def cut(suffix: str, share: float) -> Callable[[Path], None]:
    """A whole file of this kind, of which only the first part is there."""

    def make(path: Path) -> None:
        WHOLE[suffix](path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])

    return make


for kind, whole in WHOLE.items():
    DEFINED.append(Defined(f"whole{kind}", whole, "pixels.std() > 1"))
    for share in (0.3, 0.9):
        REFUSED.append(Refused(f"cut-{share}{kind}", cut(kind, share), "."))
    REFUSED.append(Refused(f"empty{kind}", Path.touch, "is an empty file"))
    REFUSED.append(
        Refused(f"text{kind}", lambda path: path.write_text("hello") and None, "cannot be read|not DICOM|not a PNG")
    )
    REFUSED.append(Refused(f"folder{kind}", Path.mkdir, "holds no images"))


def patched(path: Path, at: int, content: bytes) -> None:
    """Overwrite bytes of a file; in a packed one, of what is packed."""
    packed = path.suffix == ".gz"
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))


# NIfTI: dim is at byte 40, datatype 70, pixdim 76, vox_offset 108, scl_slope 112, scl_inter 116, magic 344.


def nifti_with(at: int, *values: Any, code: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        nifti(path)
        patched(path, at, struct.pack(f"<{len(values)}{code}", *values))

    return make


for name, at, values, code, says in (
    ("nifti-larger-than-the-file.nii", 40, (3, 20, 24, 400), "h", "announces 384 kB .* can hold"),
    ("nifti-of-terabytes.nii.gz", 40, (4, 32767, 32767, 1000, 1), "h", "announces 2.15 TB .* can hold"),
    ("nifti-negative-size.nii", 40, (3, 20, -24, 4), "h", "no pixels|cannot be read"),
    ("nifti-zero-size.nii", 40, (3, 20, 0, 4), "h", "no pixels|cannot be read"),
    ("nifti-of-no-dimensions.nii", 40, (0,), "h", "dimensions|cannot be read|no pixels"),
    ("nifti-of-99-dimensions.nii", 40, (99,), "h", "cannot be read"),
    ("nifti-of-7-dimensions.nii", 40, (7, 20, 24, 1, 1, 1, 2, 2), "h", "7 dimensions"),
    ("nifti-unknown-type.nii", 70, (4242,), "h", "cannot be read"),
    ("nifti-of-colours.nii", 70, (128,), "h", "is in colour"),
    ("nifti-pixels-before-the-header.nii", 108, (-5000.0,), "f", "cannot be read"),
    ("nifti-pixels-behind-the-end.nii.gz", 108, (1e9,), "f", "cannot be read"),
    ("nifti-nan-intercept.nii", 112, (1.0, float("nan")), "f", "unusable scale|cannot be read"),
    ("nifti-wrong-magic.nii", 344, (0x41414141,), "I", "cannot be read|not NIfTI"),
):
    REFUSED.append(Refused(name, nifti_with(at, *values, code=code), says))


for name, slope in (("infinite", "inf"), ("nan", "nan"), ("zero", "0")):  # as nibabel has it: then there is no scale
    make = nifti_with(112, float(slope), code="f")
    DEFINED.append(Defined(f"nifti-{name}-slope.nii", make, "pixels.max() < 1000"))
DEFINED.append(Defined("nifti-negative-slope.nii", nifti_with(112, -2.0, code="f"), "pixels.min() < -1900"))


@refused("nifti-that-is-not-packed.nii.gz", "cannot be read")
def _(path: Path) -> None:
    nifti(path.with_name("x.nii"))
    path.with_name("x.nii").rename(path)


@refused("nifti-one-flipped-bit.nii.gz", "CRC|cannot be read")
def _(path: Path) -> None:
    nifti(path)
    raw = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(raw, compresslevel=0))  # so that the flipped bit is one of a pixel
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))


@defined("nifti-that-unpacks-to-gigabytes-of-nothing.nii.gz", "pixels.shape == (4, 24, 20)")
def _(path: Path) -> None:
    nifti(path)
    unpacked = gzip.decompress(path.read_bytes())
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(unpacked), *(packer.compress(bytes(1 << 24)) for _ in range(128)), packer.flush()]
    path.write_bytes(b"".join(parts))


# NumPy


def npy_head(path: Path, head: str, data: bytes = b"") -> None:
    text = head.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)


for name, shape, dtype, says in (
    ("npy-of-exabytes.npy", "(1000000, 1000000, 1000000)", "<i2", "cannot be read"),
    ("npy-negative.npy", "(4, -24, 20)", "<i2", "cannot be read|no pixels"),
    ("npy-zero.npy", "(0, 24, 20)", "<i2", "no pixels|cannot be read"),
    ("npy-text.npy", "(4, 24, 20)", "<U1", "values of type"),
    ("npy-dates.npy", "(4, 24, 20)", "<M8[s]", "values of type"),
    ("npy-objects.npy", "(4, 24, 20)", "|O", "Python objects"),
    ("npy-truth-values.npy", "(4, 24, 20)", "|b1", "a mask"),
    ("npy-one-dimension.npy", "(1920,)", "<i2", "no array of rows and columns"),
    ("npy-shape-is-code.npy", "__import__('os').getpid()", "<i2", "cannot be read"),
):
    make = lambda path, s=shape, d=dtype: npy_head(  # noqa: E731
        path, f"{{'descr': '{d}', 'fortran_order': False, 'shape': {s}}}", bytes(8 * STACK.size)
    )
    REFUSED.append(Refused(name, make, says))


@refused("npy-sparse-file-of-terabytes.npy", "does not fit into memory")
def _(path: Path) -> None:
    npy_head(path, "{'descr': '|u1', 'fortran_order': False, 'shape': (10000, 20000, 20000)}")
    os.truncate(path, 128 + 10000 * 20000 * 20000)


@refused("npz-two-images-in-disguise.npy", "holds 2 images")
def _(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=STACK, b=STACK)


@refused("npz-of-gigabytes.npz", "more than the .* in the file can hold")
def _(path: Path) -> None:
    np.savez_compressed(path, a=STACK)
    size = (128 + STACK.nbytes).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (2**31).to_bytes(4, "little")))


# PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(path: Path, rows: int, columns: int, *between: bytes, depth: int = 8) -> None:
    head = struct.pack(">IIBBBBB", columns, rows, depth, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), *between, chunk(b"IDAT", zlib.compress(bytes(500))), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@refused("png-of-exapixels.png", "announces .* can hold")
def _(path: Path) -> None:
    png_of(path, 2**31 - 1, 2**31 - 1)


@refused("png-of-no-rows.png", "no pixels|cannot be read")
def _(path: Path) -> None:
    png_of(path, 0, 20)


@refused("png-with-too-few-rows.png", "cannot be read")
def _(path: Path) -> None:
    png_of(path, 24, 2000)


@refused("png-that-unpacks-to-a-bomb.png", "bomb")
def _(path: Path) -> None:
    pixels = zlib.compress(bytes(20001 * 20000))
    head = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


@refused("png-colour-profile-bomb.png", "cannot be read")
def _(path: Path) -> None:
    png_of(path, 10, 10, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 28))))


@refused("png-wrong-checksum.png", "cannot be read")
def _(path: Path) -> None:
    png(path)
    data = path.read_bytes()
    at = data.index(b"IDAT")
    path.write_bytes(data[: at + 10] + bytes([data[at + 10] ^ 1]) + data[at + 11 :])


@refused("jpeg-in-disguise.png", "not a PNG")
def _(path: Path) -> None:
    PIL.Image.fromarray(STACK[0].astype(np.uint8)).save(path, format="JPEG")


# TIFF: a hand-made one, tags as (number, type, count, value); types 3: 16 bits, 4: 32 bits


def tiff_of(path: Path, tags: list[tuple[int, int, int, int]], following: int = 0, data: bytes = bytes(64)) -> None:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + data)


def tiff_tags(width: int = 8, length: int = 8, compression: int = 1, offset: int = 200, count: int = 64) -> Any:
    one = [(256, 4, 1, width), (257, 4, 1, length), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    return [*one, (273, 4, 1, offset), (277, 3, 1, 1), (278, 4, 1, length), (279, 4, 1, count)]


for name, options, says in (
    ("tiff-of-exapixels.tif", {"width": 2**32 - 1, "length": 2**31}, "announces .* can hold"),
    ("tiff-of-exapixels-packed.tif", {"width": 2**32 - 1, "length": 2**31, "compression": 8}, "announces .* can hold"),
    ("tiff-of-exapixels-zstd.tif", {"width": 2**20, "length": 2**31, "compression": 50000}, "memory|package"),
    ("tiff-pixels-behind-the-end.tif", {"offset": 10**6}, "cannot be read|damaged"),
    ("tiff-no-rows.tif", {"length": 0}, "no pixels|cannot be read|images of different kinds"),
    ("tiff-no-pixels-written.tif", {"offset": 0, "count": 0}, "lacks|cannot be read|damaged"),
    ("tiff-unknown-compression.tif", {"compression": 4711}, "compress|cannot be read"),
):
    REFUSED.append(Refused(name, lambda path, o=options: tiff_of(path, tiff_tags(**o), data=bytes(200)), says))


@refused("tiff-circle-of-directories.tif", "back to an earlier one")
def _(path: Path) -> None:
    tiff_of(path, tiff_tags(), following=8, data=bytes(200))


@refused("tiff-circle-after-many-directories.tif", "back to an earlier one")
def _(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((300, 4, 5), np.uint8), metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[150].offset, file.pages[-1].offset
        end = last + 2 + 12 * len(file.pages[-1].aspage().tags)
    patched(path, end, struct.pack("<I", first))


@refused("tiff-imagej-cut.tif", "announces 4 images, of which 1|breaks off")
def _(path: Path) -> None:
    tiff(path, imagej=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: -STACK[0].nbytes])


@refused("tiff-directory-behind-the-end.tif", "breaks off after 0")
def _(path: Path) -> None:
    path.write_bytes(b"II*\0" + struct.pack("<I", 10**8))


@refused("tiff-imagej-boasts.tif", "announces 999999999 images")
def _(path: Path) -> None:
    text = b"ImageJ=1.11a\nimages=999999999\nslices=999999999\n\0"
    tags = sorted([*tiff_tags(), (270, 2, len(text), 300)])
    tiff_of(path, tags, data=bytes(300 - 8 - 2 - 12 * len(tags) - 4) + text + bytes(100))


# MetaImage and NRRD


def mha(path: Path, data: bytes = bytes(80), **fields: str) -> None:
    head = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "DimSize": "5 4 2", "ElementType": "MET_SHORT"}
    lines = [
        f"{key} = {value}\n"
        for key, value in {**head, **fields, "ElementDataFile": fields.get("Data", "LOCAL")}.items()
        if key != "Data"
    ]
    path.write_bytes("".join(lines).encode() + data)


def nrrd(path: Path, *lines: str, sizes: str = "5 4 2", encoding: str = "raw", data: bytes = bytes(80)) -> None:
    head = ["NRRD0004", "type: short", "dimension: 3", f"sizes: {sizes}", f"encoding: {encoding}", "endian: little"]
    path.write_bytes("\n".join([*head, *lines, "", ""]).encode() + data)


for name, fields, says in (
    ("mha-of-exapixels.mha", {"DimSize": "999999 999999 999999"}, "announces .* can hold|cannot be read"),
    (
        "mha-of-exapixels-packed.mha",
        {"DimSize": "99999 99999 99999", "CompressedData": "True"},
        "announces .* can hold|cannot be read",
    ),
    ("mha-negative.mha", {"DimSize": "5 -4 2"}, "no pixels|cannot be read|announces"),
    ("mha-zero.mha", {"DimSize": "5 0 2"}, "no pixels|cannot be read"),
    ("mha-two-channels.mha", {"ElementNumberOfChannels": "2", "DimSize": "5 4 1"}, "several values"),
    ("mha-in-another-file.mha", {"Data": "/etc/passwd"}, "in another file"),
    ("mha-negative-dimensions.mha", {"NDims": "-1.0"}, "cannot be read"),
    ("mha-short-matrix.mha", {"TransformMatrix": "1 0 0"}, "numbers of transformmatrix"),
    ("mha-many-dimensions.mha", {"NDims": "99"}, "cannot be read"),
    ("mha-unknown-type.mha", {"ElementType": "MET_NONSENSE"}, "cannot be read|values"),
):
    REFUSED.append(Refused(name, lambda path, f=fields: mha(path, **f), says))


@refused("mha-in-another-file-said-late.mha", "in another file")
def _(path: Path) -> None:
    mha(path, Comment="x" * 5000, Data="/etc/passwd")


for name, line in (
    ("mha-in-another-file-after-a-colon.mha", "ElementDataFile: /etc/passwd"),
    ("mha-dimensions-after-a-colon.mha", "NDims : -3"),
    ("mha-dimensions-twice.mha", "NDims = 2"),
    ("mha-line-in-a-line.mha", "Comment = x\rElementDataFile = /etc/passwd"),
):
    REFUSED.append(Refused(name, lambda path, line=line: mha(path, Comment=f"x\n{line}"), "each name once"))


@refused("nrrd-in-another-file-said-late.nrrd", "in another file")
def _(path: Path) -> None:
    nrrd(path, *["# " + "x" * 100] * 50, "DATA FILE: /etc/passwd")


for name, options, says in (
    ("nrrd-of-exapixels.nrrd", {"sizes": "999999 999999 999999"}, "announces .* can hold|cannot be read"),
    (
        "nrrd-of-exapixels-packed.nrrd",
        {"sizes": "99999 99999 99999", "encoding": "gzip"},
        "announces .* can hold|cannot be read",
    ),
    ("nrrd-zero.nrrd", {"sizes": "5 0 2"}, "cannot be read|no pixels"),
    ("nrrd-unknown-encoding.nrrd", {"encoding": "magic"}, "cannot be read"),
):
    REFUSED.append(Refused(name, lambda path, o=options: nrrd(path, **o), says))


# HDF5


def hdf5_made_by(make: Callable[[Any], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            make(file)

    return write


def h5_external_link(file: Any) -> None:
    with h5py.File(f"{file.filename}.other", "w") as other:
        other["a"] = STACK
    file["reconstruction_rss"] = h5py.ExternalLink(f"{file.filename}.other", "/a")


def h5_virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "a", STACK.shape)
    file.create_virtual_dataset("a", layout)


for title, make_file, says in (
    ("h5-link-to-another-file.h5", h5_external_link, "holds no images"),
    (
        "h5-pixels-in-another-file.h5",
        lambda f: f.create_dataset("a", (8, 8), "u1", external="/etc/passwd"),
        "in another file",
    ),
    ("h5-virtual.h5", h5_virtual, "in another file"),
    (
        "h5-links-in-a-circle.h5",
        lambda f: [f.__setitem__("a", h5py.SoftLink("/b")), f.__setitem__("b", h5py.SoftLink("/a"))],
        "holds no images",
    ),
    ("h5-group-named-like-an-image.h5", lambda f: f.create_group("reconstruction_rss"), "holds no images"),
    (
        "h5-never-written.h5",
        lambda f: f.create_dataset("a", (10**5, 10**5, 10**5), "i2", chunks=(1, 64, 64)),
        "announces .* can hold",
    ),
    (
        "h5-absurd-chunks.h5",
        lambda f: f.create_dataset("a", (8, 8), "u1", chunks=(2**16, 2**15), maxshape=(None, None)),
        "announces .* can hold",
    ),
    ("h5-two-images.h5", lambda f: [f.__setitem__(name, STACK) for name in "ab"], "holds 2 images"),
    ("h5-text.h5", lambda f: f.create_dataset("reconstruction_rss", data=[["a"]]), "not supported"),
    ("h5-zero.h5", lambda f: f.create_dataset("a", (0, 24, 20), "i2"), "no pixels"),
):
    REFUSED.append(Refused(title, hdf5_made_by(make_file), says))


# DICOM


for name, tags, says in (
    ("dicom-too-few-pixels.dcm", {"PixelData": bytes(64 * 64)}, "announces .* can hold"),
    ("dicom-too-many-pixels.dcm", {"PixelData": bytes(64 * 64 * 2 * 3)}, "more pixel data"),
    ("dicom-absurd-rows.dcm", {"Rows": 65535, "Columns": 65535}, "announces .* can hold"),
    ("dicom-a-billion-frames.dcm", {"NumberOfFrames": 10**9}, "announces .* can hold"),
    ("dicom-negative-frames.dcm", {"NumberOfFrames": -3}, "no pixels|cannot be read"),
    ("dicom-no-rows.dcm", {"Rows": 0}, "no pixels|cannot be read"),
    ("dicom-wrong-bits.dcm", {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "announces .* can hold"),
    ("dicom-64-bits.dcm", {"BitsAllocated": 64}, "64 bits|announces"),
    ("dicom-zero-bits.dcm", {"BitsAllocated": 0}, "0 bits|cannot be read"),
    ("dicom-more-bits-than-room.dcm", {"BitsStored": 99, "HighBit": 98}, "bit|cannot be read"),
    ("dicom-three-samples.dcm", {"SamplesPerPixel": 3}, "colour|cannot be read|samples"),
    ("dicom-slope-zero.dcm", {"RescaleSlope": "0", "RescaleIntercept": "0"}, "unusable scale"),
    ("dicom-intercept-nan.dcm", {"RescaleSlope": "1", "RescaleIntercept": "nan"}, "unusable scale"),
):
    REFUSED.append(Refused(name, lambda path, t=tags: dicom(path, **t), says))


def without(*keywords: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        dataset = pydicom.dcmread(bundled("MR_small.dcm"))
        for keyword in keywords:
            delattr(dataset, keyword)
        dataset.save_as(path)

    return make


for keyword, says in (
    ("PixelData", "no pixel data"),
    ("Rows", "no pixels|cannot be read"),
    ("BitsAllocated", "bits a pixel"),
    ("BitsStored", "bit layout"),
    ("HighBit", "bit layout"),
    ("PixelRepresentation", "PixelRepresentation|cannot be read"),
    ("PhotometricInterpretation", "colour|Photometric"),
):
    REFUSED.append(Refused(f"dicom-without-{keyword}.dcm", without(keyword), says))


@refused("dicom-text-for-a-number.dcm", "cannot be read|frames")
def _(path: Path) -> None:
    dicom(path, NumberOfFrames="2")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x28\x00\x08\x00IS\x02\x002 ", b"\x28\x00\x08\x00IS\x02\x00xx"))


@refused("dicom-deflated-bomb.dcm", "does not fit into memory")
def _(path: Path) -> None:
    dicom(path)
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack("<I", data[140:144])[0]
    end = 144 + length
    data = data[:140] + struct.pack("<I", length + 2) + data[144:]
    at = data.index(b"1.2.840.10008.1.2.1.99")
    data = data[: at - 2] + struct.pack("<H", 22) + data[at : end + 2]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(data + block + repeated * 16)


@refused("dicom-frames-that-are-not-there.dcm", "announces .* can hold")
def _(path: Path) -> None:
    packed_dicom(path, RLELossless, bytes(64), NumberOfFrames=10**8)


@refused("dicom-packed-nonsense.dcm", "cannot be read")
def _(path: Path) -> None:
    packed_dicom(path, JPEG2000Lossless, b"\xff\x4f\xff\x51" + bytes(60))


@refused("dicom-code-of-exapixels.dcm", "cannot be read")
def _(path: Path) -> None:
    """A JPEG 2000 code that says it is 2^31 pixels wide and high, where its DICOM header says 64."""
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, 2**31, 2**31, 0, 0, 2**31, 2**31, 0, 0, 1, 15, 1, 1)
    packed_dicom(path, JPEG2000Lossless, b"\xff\x4f\xff\x51" + size + bytes(100))


@refused("dicom-endless-sequence.dcm", "cannot be read|no pixel data")
def _(path: Path) -> None:
    dicom(path)
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")  # the pixel data: before it a sequence of undefined length without an end
    deep = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(data[:at] + deep * 2000 + data[at:])


# Slices of one series that do not fit together; a folder each


def series_of(path: Path, *changes: dict[str, Any]) -> None:
    uid = generate_uid(entropy_srcs=["series"])
    for number, tags in enumerate(changes):
        kept = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"1.2.3.{number + 1}", "InstanceNumber": number}
        dicom(path / f"{number}.dcm", **{**kept, **tags})


@refused("series-with-a-cut-slice", "1.dcm.*announces|1.dcm.*cannot be read")
def _(path: Path) -> None:
    series_of(path, {}, {}, {})
    broken = path / "1.dcm"
    broken.write_bytes(broken.read_bytes()[:-4000])


@defined("series-where-all-lie-at-one-place", "pixels.shape == (3, 64, 64)")
def _(path: Path) -> None:
    series_of(path, {}, {}, {})


@defined("series-of-equal-numbers-without-places", "pixels.shape == (2, 64, 64)")
def _(path: Path) -> None:
    series_of(
        path, {"InstanceNumber": 1, "ImagePositionPatient": None}, {"InstanceNumber": 1, "ImagePositionPatient": None}
    )


# Things of the file system


@refused("link-in-a-circle.nii", "does not exist")
def _(path: Path) -> None:
    path.symlink_to(path)


@refused("link-to-nowhere.png", "does not exist")
def _(path: Path) -> None:
    path.symlink_to("nowhere.png")


@refused("pipe.nii", "neither a file nor a folder")
def _(path: Path) -> None:
    os.mkfifo(path)


@refused("device.npy", "neither a file nor a folder")
def _(path: Path) -> None:
    path.symlink_to("/dev/zero")


@refused("no-image.docx", "no kind of image")
def _(path: Path) -> None:
    path.write_bytes(b"PK\3\4")


@defined("folder-with-a-pipe-and-a-circle", "pixels.shape == (4, 24, 20)")
def _(path: Path) -> None:
    path.mkdir()
    npy(path / "good.npy")
    os.mkfifo(path / "pipe.nii")
    os.mkfifo(path / "pipe")
    os.mkfifo(path / "good.npy.json")
    (path / "again").symlink_to(path)


for name in (
    b"new\nline.npy",
    b"not-text-\xff\xfe.npy",
    b"[red]markup[0].npy",
    b"  spaces .npy",
    b"'quotes\".npy",
    b"-o.npy",
):
    DEFINED.append(Defined(os.fsdecode(name), npy, "pixels.shape == (4, 24, 20)"))


# Pixels that are hard to work with, but pixels


def values(stack: np.ndarray) -> Callable[[Path], None]:
    return lambda path: npy(path, stack)


NOISY = np.random.default_rng(1).normal(100, 10, (3, 32, 32)).astype(np.float32)
SOME_NAN, SOME_INF = NOISY.copy(), NOISY.copy()
SOME_NAN[:, 8:16], SOME_INF[:, 4, 4], SOME_INF[:, 5, 5] = np.nan, np.inf, -np.inf
MASKED = NOISY * (np.hypot(*(np.mgrid[:32, :32] - 16)) < 6)

PIXELS = {
    "pixels-some-nan.npy": (SOME_NAN, "(pixels[:, 8:16] == 0).all() and pixels[:, :8].min() > 0"),
    "pixels-some-infinite.npy": (SOME_INF, "pixels[0, 4, 4] == pixels[0, 5, 5] == 0"),
    "pixels-all-nan.npy": (NOISY * np.float32("nan"), "(pixels == 0).all()"),
    "pixels-constant.npy": (np.full((3, 32, 32), 7, np.int16), "(pixels == 7).all()"),
    "pixels-all-zero.npy": (np.zeros((3, 32, 32), np.float32), "(pixels == 0).all()"),
    "pixels-nearly-all-background.npy": (MASKED, "(pixels == 0).mean() > 0.8"),
    "pixels-without-noise.npy": (np.tile(np.arange(32, dtype=np.int16), (3, 32, 1)), "pixels.max() == 31"),
    "pixels-1x1.npy": (np.full((1, 1), 3, np.uint8), "pixels.shape == (1, 1, 1)"),
    "pixels-1x9.npy": (np.arange(9.0).reshape(1, 9), "pixels.shape == (1, 1, 9)"),
    "pixels-3x3.npy": (np.arange(9.0).reshape(3, 3), "pixels.shape == (1, 3, 3)"),
    "pixels-two-values.npy": (np.arange(2048).reshape(2, 32, 32) % 2, "pixels.max() == 1"),
    "pixels-huge-numbers.npy": (NOISY.astype(np.float64) * 1e300, "(pixels == 0).all()"),
    "pixels-near-the-end-of-float32.npy": (NOISY * np.float32(1e36), "(pixels == 0).all()"),
    "pixels-large-numbers.npy": (NOISY * np.float32(1e12), "pixels.max() > 1e14"),
    "pixels-tiny-numbers.npy": (NOISY * np.float32(1e-41), "pixels.max() > 0"),
    "pixels-one-outlier.npy": (
        np.where(np.arange(3072).reshape(3, 32, 32) == 99, np.float32(3e38), NOISY),
        "pixels[0, 3, 3] == 0 and pixels.max() < 200",
    ),
}
REFUSED.append(
    Refused("pixels-whose-noise-float32-rounds-away.npy", values(1e9 + NOISY.astype(np.float64)), "Subtract")
)
DEFINED += [Defined(name, values(stack), holds) for name, (stack, holds) in PIXELS.items()]
