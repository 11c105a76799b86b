"""What machine a scan comes from."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffdenoise.machine import machine_of, modality_of, suffix_of
from diffdenoise.scans.scan import Scan

PIXELS = np.zeros((1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("modality", "units", "expected"),
    [
        *[("MR", "arbitrary", "MR"), ("CT", "HU", "CT"), ("CT", "arbitrary", "CT"), ("", "HU", "CT")],
        *[("", "arbitrary", ""), ("PT", "arbitrary", ""), ("DX", "8-bit", ""), ("", "8-bit", "")],
    ],
)
def test_modality_and_unit_say_it(modality: str, units: str, expected: str) -> None:
    assert machine_of(Scan(PIXELS, "a", "dicom", modality=modality, units=units)) == expected


@pytest.mark.parametrize(
    ("modality", "units", "expected"),
    [("DX", "8-bit", "CR/DX"), ("CR", "arbitrary", "CR/DX"), ("PT", "arbitrary", "PT"), ("OT", "arbitrary", "")],
)
def test_modalities_that_are_alike_are_one(modality: str, units: str, expected: str) -> None:
    assert modality_of(Scan(PIXELS, "a", "dicom", modality=modality, units=units)) == expected


@pytest.mark.parametrize(("suffix", "expected"), [("T1w", "MR"), ("bold", "MR"), ("dwi", "MR"), ("pet", "")])
def test_so_does_a_name_of_bids_within_a_data_set(tmp_path: Path, suffix: str, expected: str) -> None:
    name = f"sub-01_{suffix}.nii.gz"
    scan = Scan(PIXELS, name, "nifti", (tmp_path / "sub-01" / "anat" / name,))
    assert (machine_of(scan), suffix_of(scan)) == ("", "")  # of no data set
    (tmp_path / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.9.0"}')
    assert (machine_of(scan), suffix_of(scan)) == (expected, suffix)


@pytest.mark.parametrize(("said", "expected"), [("MR", "MR"), ("CT", "CT"), ("PT", ""), ("", "")])
def test_so_does_the_file_that_dcm2niix_puts_beside_it(tmp_path: Path, said: str, expected: str) -> None:
    (tmp_path / "head.json").write_text(json.dumps({"Modality": said} if said else {}))
    assert machine_of(Scan(PIXELS, "head.nii.gz", "nifti", (tmp_path / "head.nii.gz",))) == expected
