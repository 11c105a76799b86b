"""The page docs/ablations.md, made from the results in benchmarks/results/ablations alone."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.run import commit
from diffdenoise.run_folder import write_json

STUDIES = {
    "a": "a_sampling",
    "b": "b_regression",
    "c": "c_leak",
    "d": "d_prediction",
    "e": "e_rounds",
    "f": "f_student",
    "g": "g_score",
    "h": "h_fusion",
    "i": "i_kinds",
    "j": "j_estimators",
    "k": "k_recorruption",
    "l": "l_skewness",
    "m": "m_uncertainty",
    "n": "n_neighbours",
    "o": "o_network",
    "p": "p_texture",
    "q": "q_spatial",
    "r": "r_series",
    "s": "s_second_opinion",
    "t": "t_gpu",
    "u": "u_unlike",
    "v": "v_rays",
}
MADE = ("commit", "date")
HEAD = """# Ablations

Each of the paper's claims and each of our changes, behind one command. The commands themselves write this page:

```
python -m benchmarks.ablations              # all studies
python -m benchmarks.ablations a e          # some of them
python -m benchmarks.ablations --size gpu   # larger networks, longer trainings, the whole grids
```

They need the package with its `test` extra, in a checkout. Networks and cells are kept in `benchmarks/cache`: what was
done is not done again, and a study that was stopped goes on. A cell is known by its settings, not by the code behind
it: after a change of that, delete `benchmarks/cache/SIZE`. Figures without a date are older than 2026-11-27, and
than some of the code. Unless a table says otherwise: MNI152 T1 slices, 60 for training and 5 others (10 mm above, with
added fine detail) for testing, white Gaussian noise of 25/255, seed 0; PSNR in dB inside the brain, data range 1.
*Noise kept* is the slope of (estimate - clean) on the noise; for the ideal non-blind estimate it equals MSE/s2, for a
blind one 0. These are **one or two subjects and small networks trained for minutes**: they show how the method works,
not how good it can get. What they taught us is told in [method.md](method.md).
"""


def environment(size: str, device: str) -> dict[str, Any]:
    """Where the figures came from, and when."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    made = {"commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    return {"size": size, "device": name, "torch": torch.__version__.split("+")[0], **made}


def save(results: Path, letter: str, record: dict[str, Any], seconds: float) -> None:
    """Keep the figures of a study; its time is the sum over all runs that worked on it.

    Commit and date are of the run that last changed a figure: one that found all its cells in the cache measured none.
    """
    path = results / f"{letter}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("size") == record["size"]:
        seconds += before["seconds"]
        if _text(before["result"]) == _text(record["result"]):
            record = {name: value for name, value in record.items() if name not in MADE}
            record |= {name: before[name] for name in MADE if name in before}
    results.mkdir(parents=True, exist_ok=True)
    write_json(path, {**record, "seconds": round(seconds, 1)})


def write_page(results: Path, docs: Path) -> None:
    """docs/ablations.md and its plots."""
    pictures = docs / "ablations"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    for letter, module in STUDIES.items():
        path = results / f"{letter}.json"
        if path.exists():
            parts.append(_section(letter, import_module(f"benchmarks.ablations.{module}"), path, pictures))
    (docs / "ablations.md").write_text("\n".join(parts))


def _section(letter: str, study: Any, path: Path, pictures: Path) -> str:
    record = json.loads(path.read_text())
    study.plot(record["result"], pictures / f"{letter}.png")
    made = f"size {record['size']}, {record['device']}, PyTorch {record['torch']}; {_minutes(record['seconds'])}"
    if all(name in record for name in MADE):
        made += f"; {record['date']}, at {record['commit']}"
    return f"""## {letter}. {study.TITLE}

{study.QUESTION}

`python -m benchmarks.ablations {letter} --size {record["size"]}` ({made})

{study.tables(record["result"])}

![{study.TITLE}](ablations/{letter}.png)

{study.FINDING}
"""


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, sort_keys=True)


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} minutes in the runs that finished, interrupted ones not counted"
