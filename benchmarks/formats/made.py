"""Small files of the formats that the shared folders lack, each as its usual writer leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

GREY = np.random.default_rng(0).integers(100, 4000, (4, 24, 32)).astype(np.uint16)
COMPLEX = (GREY + 1j * GREY[::-1]).astype(np.complex64)


def make_files(folder: Path) -> Path:
    """Write them all into a folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (_tiffs, _pictures, _arrays, _hdf5s, _volumes):
        make(folder)
    return folder


def _tiffs(folder: Path) -> None:
    import tifffile

    plain: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    for name in ("lzw", "deflate", "packbits", "zstd", "jpeg"):
        pixels = (GREY >> 4).astype(np.uint8) if name == "jpeg" else GREY
        predictor = name in ("lzw", "deflate")
        tifffile.imwrite(folder / f"{name}.tif", pixels, compression=name, predictor=predictor, **plain)
    tifffile.imwrite(folder / "bigtiff.tif", GREY, bigtiff=True, **plain)
    tifffile.imwrite(folder / "float_tiled.tif", GREY.astype(np.float32), tile=(16, 16), **plain)
    hyperstack = {"axes": "TZYX", "spacing": 2.5, "unit": "um", "finterval": 0.5}
    stack = GREY.reshape(2, 2, 24, 32)
    tifffile.imwrite(folder / "imagej_hyperstack.tif", stack, imagej=True, resolution=(3, 3), metadata=hyperstack)
    ome = {"axes": "TZYX", "PhysicalSizeX": 0.3, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.0}
    for name, compression in {"ome.ome.tif": None, "ome_deflate.ome.tif": "deflate"}.items():
        tifffile.imwrite(folder / name, stack, ome=True, metadata=ome, compression=compression)
    tifffile.imwrite(folder / "colour.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")


def _pictures(folder: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(GREY[0]).save(folder / "grey16.png")
    grey8 = (GREY[0] >> 4).astype(np.uint8)
    PIL.Image.fromarray(grey8).save(folder / "grey8.png", dpi=(300, 300))
    PIL.Image.fromarray(np.stack([grey8] * 3, -1)).save(folder / "grey_in_rgb.png")
    PIL.Image.fromarray(np.stack([grey8, 255 - grey8, grey8], -1)).save(folder / "colour.png")


def _arrays(folder: Path) -> None:
    np.save(folder / "int16.npy", GREY.astype(np.int16))
    np.save(folder / "complex.npy", COMPLEX)
    np.savez_compressed(folder / "with_affine.npz", image=GREY, affine=np.eye(4), spacing=[1, 1, 2])
    np.savez(folder / "two_images.npz", first=GREY, second=GREY)


def _hdf5s(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "fastmri.h5", "w") as file:
        file["reconstruction_rss"] = GREY.astype(np.float32)
        file["kspace"], file["ismrmrd_header"] = COMPLEX, "<ismrmrdHeader/>"
        file.attrs["acquisition"] = "CORPD_FBK"
    with h5py.File(folder / "kspace_only.h5", "w") as file:
        file["kspace"] = COMPLEX
    header = np.zeros(4, [("version", "<u2"), ("position", "<f4", (3,))])
    header["position"][:, 2] = range(4)
    pairs = COMPLEX[:, None, None].view([("real", "<f4"), ("imag", "<f4")])
    for name, pixels in {"ismrmrd.h5": GREY[:, None, None], "ismrmrd_complex.h5": pairs}.items():
        with h5py.File(folder / name, "w") as file:
            file["dataset/image_0/data"], file["dataset/image_0/header"] = pixels, header


def _volumes(folder: Path) -> None:
    import nibabel
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(GREY)
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((-10.0, 4.0, 7.5))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    for name in ("volume.mha", "volume.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=name == "volume.nrrd")
    turned = np.array([[0, -2.0, 0, 9], [1.5, 0, 0, 3], [0, 0, 4, 1], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(COMPLEX.T, turned), folder / "complex.nii.gz")
    nibabel.save(nibabel.Nifti2Image(GREY.T.astype(np.float64), turned), folder / "double.nii")
