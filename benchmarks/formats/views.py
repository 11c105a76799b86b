"""Files as the library of each format shows them, without our readers: what a round trip must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# of a derived image (docs/formats.md says why); all else must stay
INTENDED = {
    "DICOM": {
        "InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "SOPInstanceUID", "SeriesInstanceUID",
        "SeriesDescription", "SeriesNumber", "ImageType", "DerivationDescription", "DerivationCodeSequence",
        "SourceImageSequence", "SourceImageEvidenceSequence", "DerivationImageSequence",
        "ContributingEquipmentSequence", "SmallestImagePixelValue", "LargestImagePixelValue",
        "SmallestPixelValueInSeries", "LargestPixelValueInSeries", "DataSetTrailingPadding", "FrameType",
        "LossyImageCompression", "SmallestImagePixelValueInPlane", "LargestImagePixelValueInPlane",
        "DigitalSignaturesSequence", "MACParametersSequence", "IconImageSequence", "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths", "ConcatenationUID", "SOPInstanceUIDOfConcatenationSource",
        "InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
    },
}  # fmt: skip
# only ORIGINAL enhanced MR images may say these (PS3.3 C.8.13.4)
INTENDED["DICOM"] |= {
    "ArterialSpinLabelingContrast", "BulkMotionCompensationTechnique", "BulkMotionSignalSource", "CoverageOfKSpace",
    "EchoPlanarPulseSequence", "EchoPulseSequence", "GeometryOfKSpaceTraversal", "MRAcquisitionType",
    "MultiPlanarExcitation", "MultipleSpinEcho", "NumberOfKSpaceTrajectories", "OversamplingPhase", "PhaseContrast",
    "PulseSequenceName", "RectilinearPhaseEncodeReordering", "SaturationRecovery", "SegmentedKSpaceTraversal",
    "SpectrallySelectedSuppression", "SteadyStatePulseSequence", "TimeOfFlightContrast",
}  # fmt: skip
_PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
_PLACE = (
    "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """One file: pixels as stored, their type, how large one step of it is physically, geometry and all else.

    padding: where a stored number means that there is no pixel, which nothing may change.
    """

    kind: str
    pixels: np.ndarray
    dtype: str
    step: float
    stored_as: str
    geometry: dict[str, Any] = field(repr=False)
    rest: dict[str, Any] = field(repr=False)
    padding: np.ndarray | None = field(default=None, repr=False)


def view(path: Path, format_: str) -> View:
    """The file, by the key of its format in `diffdenoise.scans.formats.FORMATS`; raises what its library raises."""
    makers: dict[str, Callable[[Path], View]] = {
        "dicom_file": _dicom, "nifti": _nifti, "foreign": _foreign, "itk": _itk, "hdf5": _hdf5, "png": _png,
        "tiff": _tiff, "npy": _npy,
    }  # fmt: skip
    return makers[format_](path)


def _dicom(path: Path) -> View:
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    if not dataset.get("SOPClassUID"):  # anonymisers blank it, but forget the file's head
        dataset.SOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID", "")
    inner = {element.keyword: element for element in dataset.iterall()}  # of functional groups; of icons, too
    elements = inner | {element.keyword: element for element in dataset}
    sign = "floats" if "BitsStored" not in dataset else ("unsigned", "signed")[dataset.PixelRepresentation]
    bits = dataset.get("BitsStored", dataset.BitsAllocated)
    slopes = [abs(float(e.value)) for e in dataset.iterall() if e.keyword == "RescaleSlope"]
    table = dataset.get("ModalityLUTSequence")
    step = float(np.abs(np.diff(np.asarray(table[0].LUTData, float))).max()) if table else max(slopes, default=1.0)
    pixels = dataset.pixel_array
    value = dataset.get("PixelPaddingValue")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return View(
        "DICOM",
        pixels,
        f"{sign}, {bits} of {dataset.BitsAllocated} bits",
        0.0 if sign == "floats" else step,
        f"{dataset.get('Modality', '')} {syntax.name if syntax else 'no transfer syntax'}".strip(),
        {keyword: str(elements[keyword].value) for keyword in _PLACE if keyword in elements},
        {key: value for key, value in _flat(dataset).items() if key.split(".")[-1] not in _PIXELS},
        None if value is None else pixels == value,
    )


def _flat(dataset: Any, before: str = "") -> dict[str, str]:
    """Every element by the path of keywords to it; those of derived images' sequences as wholes."""
    values: dict[str, str] = {}
    for element in dataset:
        if element.tag.element == 0:  # lengths of groups, retired: writers leave them out
            continue
        name = f"{before}{element.keyword or element.tag}"
        if element.VR == "SQ" and element.keyword not in INTENDED["DICOM"]:
            for index, item in enumerate(element.value):
                values |= _flat(item, f"{name}[{index}].")
        elif element.VR not in ("OW", "OB") or element.keyword in INTENDED["DICOM"]:
            values[name] = str(element.value)
        else:
            values[name] = str(len(element.value))  # words lie in the file's byte order
    return values


def _nifti(path: Path) -> View:
    import nibabel

    image: Any = nibabel.load(path)
    proxy, header = image.dataobj, image.header
    dtype = header.get_data_dtype()
    kind = f"NIfTI-{2 if isinstance(image, nibabel.Nifti2Image) else 1}"
    order = "big-endian" if header.endianness == ">" else "little-endian"
    rest = {name: header[name].tobytes() for name in header if name not in ("magic",)}
    return View(
        "NIfTI",
        proxy.get_unscaled(),
        str(dtype.newbyteorder("=")),
        abs(float(proxy.slope)) if dtype.kind in "iu" else 0.0,
        f"{kind}, {order}",
        {"affine": image.affine.tolist(), "zooms": [float(size) for size in header.get_zooms()]},
        rest | {"extensions": [extension.get_content() for extension in header.extensions]},
    )


def _foreign(path: Path) -> View:
    """PAR/REC, MINC and AFNI, and the NIfTI files that their results are."""
    import nibabel

    image: Any = nibabel.load(path)
    values, zooms = np.asarray(image.dataobj, np.float32), [float(size) for size in image.header.get_zooms()]
    if path.suffix == ".mnc" and values.ndim == 4:  # time comes first
        values, zooms = np.moveaxis(values, 0, -1), [*zooms[1:], zooms[0]]
    kind = {".par": "PAR/REC", ".mnc": "MINC", ".head": "AFNI"}.get(path.suffix.lower(), "NIfTI")
    place = {"affine": np.round(image.affine, 4).tolist(), "zooms": np.round(zooms, 4).tolist()}
    return View(kind, values, "float32", 0.0, type(image).__name__.removesuffix("Image"), place, {})


def _itk(path: Path) -> View:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    pixels = sitk.GetArrayFromImage(image)
    place = {"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()}
    rest = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    kind = "MetaImage" if path.suffix == ".mha" else "NRRD"
    return View(kind, pixels, str(pixels.dtype), _step(pixels), image.GetPixelIDTypeAsString(), place, rest)


def _hdf5(path: Path) -> View:
    import h5py

    held: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: held.update({name: item}))
        sets = {name: item[()] for name, item in held.items() if isinstance(item, h5py.Dataset)}
        rest = {name: str(dict(item.attrs)) for name, item in (*held.items(), ("/", file))}
    pixels = next(sets[name] for name in sorted(sets, key=_as_image) if "kspace" not in name)
    others = {name: str(value) for name, value in sets.items() if value is not pixels and "kspace" not in name}
    rest = {name: text for name, text in rest.items() if "kspace" not in name}
    return View("HDF5", pixels, str(pixels.dtype), _step(pixels), f"{len(sets)} data sets", {}, rest | others)


def _as_image(name: str) -> tuple[bool, str]:
    return ("recon" not in name and not name.endswith("data"), name)


def _png(path: Path) -> View:
    import PIL.Image

    with PIL.Image.open(path) as image:
        pixels = np.array(image)
        return View("PNG", pixels, f"{pixels.dtype}, {image.mode}", _step(pixels), "deflate", {}, dict(image.info))


def _tiff(path: Path) -> View:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, series = file.pages[0].aspage(), file.series[0]
        pixels = series.asarray()
        names = ("ImageDescription", "XResolution", "YResolution", "ResolutionUnit", "Software", "Photometric")
        tags = {name: str(page.tags[name].value) for name in names if name in page.tags}
        big = "BigTIFF, " if file.is_bigtiff else ""
        place = {"axes": series.axes, "shape": series.shape}
        return View("TIFF", pixels, str(pixels.dtype), _step(pixels), big + page.compression.name, place, tags)


def _npy(path: Path) -> View:
    loaded = np.load(path)
    if isinstance(loaded, np.ndarray):
        return View("NPY", loaded, str(loaded.dtype), _step(loaded), "", {}, {})
    with loaded:
        arrays = {key: loaded[key] for key in loaded.files}
    key = max(arrays, key=lambda name: arrays[name].size)
    pixels = arrays.pop(key)
    others = {name: value.tolist() for name, value in arrays.items()}
    return View("NPZ", pixels, str(pixels.dtype), _step(pixels), f"{len(others) + 1} arrays", {}, others)


def _step(pixels: np.ndarray) -> float:
    return 1.0 if pixels.dtype.kind in "iu" else 0.0
