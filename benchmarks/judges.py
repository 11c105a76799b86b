"""`python -m benchmarks.judges FOLDER ...`: denoise every DICOM there, let others' programs judge the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App

from benchmarks.formats.judges import JUDGES, SERIES, ask
from benchmarks.formats.page import write_page
from diffdenoise.batch import Wanted, denoise_scans
from diffdenoise.denoiser import Denoiser
from diffdenoise.errors import ScanError
from diffdenoise.run_folder import write_json
from diffdenoise.scans.dicom import output_names
from diffdenoise.scans.files import Found, find, read_scan, result_path

app = App(name="python -m benchmarks.judges", help=__doc__)
Pairs = list[tuple[Path, Path]]


@app.default
def main(*folders: Path, results: Path = Path("benchmarks/results/formats"), docs: Path = Path("docs")) -> None:
    """Judge the results of all readable DICOM images in the folders; write the page again."""
    found = _readable([item for item in find(folders)[0] if item.format.startswith("dicom")])
    with tempfile.TemporaryDirectory() as out:
        verdicts = judged(found, Path(out))
    results.mkdir(parents=True, exist_ok=True)
    write_json(results / "judges.json", verdicts)
    for name, verdict in verdicts["judges"].items():
        print(name, {key: value for key, value in verdict.items() if key != "question"}, flush=True)
    write_page(results, docs)


def judged(found: Sequence[Found], out: Path) -> dict[str, Any]:
    """What each judge says of the denoised images and the removed noise of these scans."""
    wanted = Wanted(removed=True)
    model = Denoiser.fit([read_scan(found[0]).pixels], preset="smoke", device="cpu")
    done = denoise_scans(model, found, out, wanted, lambda what, done, total: None)
    if done.failed:
        raise done.failed[0]
    pairs = [pair for item in found for pair in _pairs(item, out, wanted)]
    whole = [
        (_alone(item, out / ".originals" / f"{number}-{item.name.replace('/', '-')}"), result_path(item, out, quantity))
        for number, item in enumerate(found)
        for quantity in wanted.quantities
    ]
    return {
        "scans": len(found),
        "originals": sum(len(item.paths) for item in found),
        "judges": {name: ask(name, whole if name in SERIES else pairs) for name in JUDGES},
    }


def _readable(found: Sequence[Found]) -> list[Found]:
    readable = []
    for item in (one for whole in found for one in _without_copies(whole)):
        try:
            read_scan(item)
            readable.append(item)
        except ScanError as error:
            print(f"Not judged: {error}", flush=True)
    return readable


def _without_copies(item: Found) -> list[Found]:
    """File by file where one image was saved several times, in several encodings: that is no series."""
    import pydicom

    images = {pydicom.dcmread(path, stop_before_pixels=True, force=True).get("SOPInstanceUID") for path in item.paths}
    if len(images) == len(item.paths):
        return [item]
    return [Found((path,), "dicom_file", path.name) for path in item.paths]


def _pairs(item: Found, out: Path, wanted: Wanted) -> Pairs:
    """(original, result) of each file, for each quantity."""
    pairs: Pairs = []
    for quantity in wanted.quantities:
        result = result_path(item, out, quantity)
        places = [result / name for name in output_names(item.paths)] if item.format == "dicom" else [result]
        pairs += zip(item.paths, places, strict=True)
    return pairs


def _alone(item: Found, folder: Path) -> Path:
    """A series in a folder of its own, as a judge is shown it; a single file where it is."""
    if item.format == "dicom_file":
        return item.paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in zip(item.paths, output_names(item.paths), strict=True):
        shutil.copy(path, folder / name)
    return folder


if __name__ == "__main__":
    app()
