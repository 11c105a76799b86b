"""The page docs/formats.md, made from the results in benchmarks/results/formats alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.writing import markdown

HEAD = """# Formats

| format | names | result |
| --- | --- | --- |
| DICOM | any, also without a suffix (`.dcm`, `.IMA`) | DICOM: of a series a folder of images, of one file a file |
| NIfTI | `.nii`, `.nii.gz` | NIfTI; in a BIDS data set with BIDS names |
| MetaImage, NRRD | `.mha`, `.nrrd` | the same |
| HDF5 (ISMRMRD, fastMRI, one array) | `.h5`, `.hdf5` | HDF5 |
| PNG | `.png` | PNG; maps as TIFF, for they hold negative or fractional numbers |
| TIFF (ImageJ, OME) | `.tif`, `.tiff` | TIFF |
| NumPy | `.npy`, `.npz` | the same |
| Philips PAR/REC, MINC, AFNI | `.PAR`, `.mnc`, `.HEAD` | NIfTI |

A result has its scan's geometry, units and type of numbers. Below is what is refused, what derived DICOM and BIDS look
like, and then file by file what came of each that was tried.
"""

FILES = """## Every file, read and written back

Each file is opened by its own format's library, not by ours, before and after: pydicom, nibabel, SimpleITK, h5py,
Pillow, tifffile, NumPy. It is written twice: with its own pixels, which must come back as the same stored numbers, and
with pixels changed by noise of a few stored steps, which must come back within half a step. *Kept* means: geometry,
type and pixels are the same, and so is all else that the file says; of DICOM only the tags change that a derived image
has to change.
"""

RULES = """## What is refused, and why

- **Colour pictures, palettes, masks of one bit, reports, doses, structures, segmentations**: no greyscale images. Named
  one by one they are an error; in a folder they are left alone, each with its reason, and are no failure. So are
  localizers, phase images (told by DICOM, also GE's own element, by PAR/REC, by BIDS names, or by the `.json` that
  dcm2niix puts beside them), and secondary captures whose pixels hold text (marked so, or called a screen or a dose in
  ImageType); and what FSL, ANTs and fMRIPrep leave beside images: tables of movement (`.par`), transforms (`.h5`),
  warps, labels, values on surfaces (NIfTI, by their intent code), colours; NumPy files with masks, or without rows and
  columns; archives, and kinds of images that are not read here (`.zip`, `.jpg`, `.mgz`, `.hdr` and `.img`). Of a BIDS
  data set `derivatives` and `sourcedata`, which hold the same images again, are taken only when they are named
  themselves. The list of a disc (DICOMDIR) is passed over in a folder, where the images are that it lists.
- **K-space without an image**: an inverse Fourier transform and the root sum of squares would give an image, but
  no result in kind could be written back into k-space. Reconstruct first, and save the coils' sum.
- **What is lost on the way back**, in none of the files below: of HDF5 references, soft links and chunks; of NRRD and
  MetaImage fields that ITK does not carry over (measurement frame, thicknesses, comments).
- **Several images in one file** (HDF5, NPZ): it is not clear which is meant. Masks, one-dimensional arrays and affine
  matrices beside the one image are copied.
- **A Modality LUT that rises and falls**: a result has no one stored number. Those that only rise, or only fall, are
  undone by the nearest entry.

TIFF compressed with loss (JPEG) is read; its result is compressed without (deflate). PAR/REC, MINC and AFNI are read
alone: their results are NIfTI.

## Derived DICOM

A denoised image keeps class, stored type, scale and padding of its source, and all tags but those that say that it is
derived, of what, and how (PS3.3 C.7.6.1.1.2); an enhanced one says of each frame which of its source's it comes from.
No pixel becomes padding: what would come to lie on its value goes beside it. Enhanced MR images lose the tags that only
original ones may have, such as Echo Pulse Sequence (C.8.13.4): they stand in the source, to which the result refers. A
derived image is whole by itself: tags that call its source a part of a concatenation are gone.

Copies of an image in one input (the same SOP Instance UID, number and place) are taken once, and the others told; one
with other pixels is an error. Where a slice's position or number is no number, its series is ordered by the other of
the two, or by file names.

The uncertainty and the spread of a series that lies in a patient's space, each place once, are a Parametric Map (PS3.3
A.75): floats in one file, `map.dcm`, with a frame for each source image, which it refers to, and the unit of its
numbers. Archives take it; of viewers not all do. A sex other than M, F and O, and dates, times and thicknesses that
are none, are left empty in it; its own date is one of the source, or today's where that has none. Where it cannot be
made of the headers for another reason, there are images instead.

The removed noise is to be looked at beside the scan, and opens wherever that does: it is a series of images of the
source's class, signed 16 bits with a slope of their own, and REMOVED in ImageType. So are uncertainty and spread where
no Parametric Map can be (ultrasound, radiographs, series in time). The slope is the finest on which nothing saturates,
so that rounding costs at most 1/65000 of the largest value; where a source holds floats, so does the map. The
classes of ultrasound and of secondary captures of several frames of bytes allow 8 bits alone, or no sign: there 128
means zero, and rounding costs up to 1/254. A limit: the classes of radiographs and angiograms (DX, MG, XA, RF) allow no
sign either (PS3.3 C.8.11.3, C.8.7.1), but what is removed from them is written with one: programs that insist may
refuse it.

## BIDS

A NIfTI file with a BIDS name below a `dataset_description.json` gives results with BIDS names, in the place it has in
the data set: `sub-01/anat/sub-01_desc-denoised_T1w.nii.gz` (`desc-uncertainty`, `desc-spread`, `desc-removed`). The
JSON file beside holds what the data set says of the source (RepetitionTime and so on, inherited entries too) and our
record under the key `diffdenoise`; `.bval` and `.bvec` are copied beside a denoised diffusion series; the output
folder becomes a derivative data set.
"""

COMMANDS = """## How this page is made

By the commands that measured its tables:

```
python -m benchmarks.formats DICOM_FOLDER OTHER_FOLDER   # every file; also of files that it makes itself
python -m benchmarks.judges DICOM_FOLDER                 # derived images before others' programs
```
"""


def write_page(results: Path, docs: Path) -> None:
    """docs/formats.md, from files.json and (if it is there) judges.json."""
    records = json.loads((results / "files.json").read_text())
    parts = [HEAD, RULES, FILES, _summary(records)]
    parts += [_folder(folder, records) for folder in dict.fromkeys(record["folder"] for record in records)]
    if (judged := results / "judges.json").exists():
        parts.append(_judges(json.loads(judged.read_text())))
    parts.append(COMMANDS)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "formats.md").write_text("\n".join(parts))


def _summary(records: list[dict[str, Any]]) -> str:
    refused = [record for record in records if "refused" in record]
    kept = sum(outcome(record) == KEPT for record in records)
    becomes = sum(outcome(record).startswith("becomes") for record in records)
    lines = [
        f"{len(records)} files: {kept} kept, {becomes} written as NIfTI, {len(refused)} refused, "
        f"{len(records) - kept - becomes - len(refused)} not as they should be.\n"
    ]
    reasons = Counter(record["refused"].split(" (")[0] for record in refused)
    lines += [f"- refused, {count}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join([*lines, ""])


KEPT = "kept"


def outcome(record: dict[str, Any]) -> str:
    """In words; starts with "kept", "becomes" or "refused" where all is as it should be."""
    if "refused" in record:
        return f"refused: {record['refused']}"
    wrong = [
        words
        for key, words in {
            "same_geometry": "geometry",
            "same_dtype": "type",
            "same_pixels": "unchanged pixels",
            "new_pixels": "changed pixels",
        }.items()
        if not record[key]
    ]
    if wrong := wrong + record["changed"]:
        return f"**differs**: {', '.join(wrong)}"
    return KEPT if record["becomes"] == record["format"] else f"becomes {record['becomes']}: affine, sizes, values kept"


def _folder(folder: str, records: list[dict[str, Any]]) -> str:
    rows = [
        [record["file"], record["format"], _shape(record), _stored(record), outcome(record)]
        for record in records
        if record["folder"] == folder
    ]
    return f"### {folder}\n\n{markdown(['file', 'format', 'slices x rows x columns', 'stored as', 'outcome'], rows)}\n"


def _shape(record: dict[str, Any]) -> str:
    shape = " x ".join(map(str, record.get("shape", [])))
    return f"{shape} ({record['volumes']} volumes)" if record.get("volumes", 1) > 1 else shape


def _stored(record: dict[str, Any]) -> str:
    return "; ".join(part for part in (record.get("dtype"), record["stored_as"]) if part)


def _judges(judged: dict[str, Any]) -> str:
    rows = [
        [
            name,
            verdict["question"],
            verdict["version"] if verdict["asked"] else "not asked: not installed",
            verdict.get("files", ""),
            verdict.get("agree", ""),
        ]
        for name, verdict in judged["judges"].items()
    ]
    table = markdown(["judge", "question", "version", "files", "yes"], rows)
    said = [
        f"- {name}, {file}: {text}"
        for name, verdict in judged["judges"].items()
        for file, text in verdict.get("objections", {}).items()
    ]
    unable = [
        f"- {name} could not read {len(verdict['unable'])} originals, and was not asked about their results: "
        f"{', '.join(verdict['unable'])}"
        for name, verdict in judged["judges"].items()
        if verdict.get("unable")
    ]
    return f"""## Third-party judges

A model of preset `smoke` was trained and applied to {judged["scans"]} scans ({judged["originals"]} files); the
denoised images and the removed noise were then shown to others' programs, each beside its original. *Files* counts
the results (of dcm2niix: series) whose original the judge could read, *yes* those that it found no fault with.

{table}

{chr(10).join(said) or "No objections."}
{chr(10).join(unable)}
"""
