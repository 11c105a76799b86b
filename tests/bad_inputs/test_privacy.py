"""Patients' data stay where they belong: in scans and results, not in models, logs and records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import noisy_disks
from tests.scans.dicom_checks import bundled, changed_copy

NAME, ID, FOLDER, FILE, BROKEN = (
    "Quuxwitz^Zebulon",
    "ID-73912",
    "Quuxwitz-Folder",
    "Quuxwitz-scan.dcm",
    "Quuxwitz-bad.npy",
)
TELLING = {"skipped.json", "index.json"}  # hold the message about the broken file, until `clean`
RECORDED = {
    FILE,
    FILE.replace(".", "_removed."),
    BROKEN,
}  # by design: names of files in the records beside results, and in messages about bad ones


def scans(folder: Path) -> Path:
    place = folder / FOLDER
    pixels = (1000 * noisy_disks(slices=1, rows=64, columns=64)[0]).astype(np.int16).tobytes()
    tags = {"PatientName": NAME, "PatientID": ID, "SeriesDescription": "Quuxwitz head", "PixelData": pixels}
    changed_copy(bundled("MR_small.dcm"), place / FILE, **tags)
    (place / BROKEN).write_bytes(b"broken")
    return place


def call(*arguments: object) -> str:
    command = [sys.executable, "-m", "diffdenoise", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1  # one of them is broken
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def without_recorded(text: str) -> str:
    for name in RECORDED:
        text = text.replace(name, "")
    return text


def test_no_patient_is_named_where_nobody_looks_for_one(tmp_path: Path) -> None:
    place, out = scans(tmp_path), tmp_path / "out"
    said = call("run", place, "-o", out, "--preset", "smoke", "--device", "cpu", "--removed")
    assert NAME not in said
    assert ID not in said
    run = out / ".diffdenoise"
    model = (run / "model.safetensors").read_bytes()
    for word in (NAME, ID, "Quuxwitz", str(tmp_path)):
        assert word.encode() not in model
    records = [path for path in run.rglob("*") if path.suffix in (".json", ".csv", ".yaml")]
    assert len(records) > 5
    for path in records:
        if path.name not in TELLING:
            assert "Quuxwitz" not in path.read_text(), path
            assert str(tmp_path) not in path.read_text(), path
    records = list(out.glob("*.json"))
    assert len(records) == 2  # of the result and of what was removed
    for path in records:
        text = without_recorded(path.read_text())
        for word in (NAME, ID, "Quuxwitz", str(tmp_path)):
            assert word not in text, path
    command = [sys.executable, "-m", "diffdenoise", "clean", str(out)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    for path in run.rglob("*"):
        assert not path.is_file() or b"Quuxwitz" not in path.read_bytes(), path
