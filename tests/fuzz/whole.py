"""Small whole files of every format, to be damaged: name -> bytes of the file, and of those that must lie beside it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import nibabel
import numpy as np
import PIL.Image
import SimpleITK as sitk
import tifffile

from tests.scans.dicom_checks import bundled, multi_frame

STACK = np.random.default_rng(0).integers(0, 1000, (3, 12, 10)).astype(np.int16)
DICOM = (
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "JPEG-lossy.dcm",
    "image_dfl.dcm",
    "693_J2KI.dcm",
)
NIBABELS_OWN = Path(nibabel.__file__).parent / "tests" / "data"
FOREIGN = (
    ("phantom_EPI_asc_CLEAR_2_1.PAR", "phantom_EPI_asc_CLEAR_2_1.REC"),
    ("tiny.mnc",),
    ("minc2_1_scale.mnc",),
    ("example4d+orig.HEAD", "example4d+orig.BRIK.gz"),
)


@dataclass(frozen=True)
class Whole:
    """A file that can be read; beside: name -> content of the files it needs."""

    name: str
    content: bytes
    beside: dict[str, bytes] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """From the first dot that belongs to a suffix, such as ".nii.gz"."""
        return "".join(Path(self.name).suffixes[-2:]) if self.name.endswith(".gz") else Path(self.name).suffix


def whole_files() -> list[Whole]:
    """All of them."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write(folder)
        made = [Whole(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    made += [Whole(name, bundled(name).read_bytes()) for name in DICOM]
    for name, *beside in FOREIGN:
        if (NIBABELS_OWN / name).exists():
            others = {other: (NIBABELS_OWN / other).read_bytes() for other in beside}
            made.append(Whole(name, (NIBABELS_OWN / name).read_bytes(), others))
    return made


def _write(folder: Path) -> None:
    for kind, name in ((nibabel.Nifti1Image, "one"), (nibabel.Nifti2Image, "two")):
        image = kind(STACK.T, np.eye(4))
        image.header.set_slope_inter(2, 1)
        nibabel.save(image, folder / f"{name}.nii")
    (folder / "packed.nii.gz").write_bytes(gzip.compress((folder / "one.nii").read_bytes()))
    np.save(folder / "a.npy", STACK)
    for dtype in (np.uint8, np.uint16):
        PIL.Image.fromarray(STACK[0].astype(dtype)).save(folder / f"{np.dtype(dtype)}.png")
    PIL.Image.fromarray(np.stack(3 * [STACK[0].astype(np.uint8)], -1)).save(folder / "rgb.png")
    tifffile.imwrite(folder / "plain.tif", STACK, photometric="minisblack")
    tifffile.imwrite(folder / "imagej.tif", STACK, imagej=True)
    tifffile.imwrite(folder / "big.tif", STACK, bigtiff=True, photometric="minisblack")
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(folder / "packed.tif", STACK, compression="zlib", predictor=True, rowsperstrip=5, **options)
    tifffile.imwrite(folder / "tiled.tif", STACK, compression="lzma", tile=(16, 16), **options)
    for suffix in (".mha", ".nrrd"):
        for name, packed in (("raw", False), ("packed", True)):
            sitk.WriteImage(sitk.GetImageFromArray(STACK), str(folder / f"{name}{suffix}"), useCompression=packed)
    for name, packed in (("raw", None), ("packed", "gzip")):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("reconstruction_rss", data=STACK, compression=packed)
            file.create_dataset("kspace", data=STACK.astype(np.complex64))
            file.attrs["max"] = 3.0
    multi_frame(folder / "frames.dcm")
