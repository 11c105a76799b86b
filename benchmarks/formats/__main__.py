"""`python -m benchmarks.formats FOLDER ...`: read and write back every file there, and write docs/formats.md."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cyclopts import App

from benchmarks.formats.check import check_folder
from benchmarks.formats.made import make_files
from benchmarks.formats.page import outcome, write_page
from diffdenoise.run_folder import write_json

app = App(name="python -m benchmarks.formats", help=__doc__)


@app.default
def main(*folders: Path, results: Path = Path("benchmarks/results/formats"), docs: Path = Path("docs")) -> None:
    """Check every image file in the folders, and the files that this makes itself; write the page."""
    records = [record for folder in folders for record in check_folder(folder)]
    with tempfile.TemporaryDirectory() as folder:
        records += check_folder(make_files(Path(folder) / "made here"))
    for record in records:
        print(f"{record['file']}: {outcome(record)}", flush=True)
    results.mkdir(parents=True, exist_ok=True)
    write_json(results / "files.json", records)
    write_page(results, docs)


if __name__ == "__main__":
    app()
