"""The words of the benchmark's page say what the results say."""

import re

import numpy as np

from benchmarks.findings import MAIN, WHITE, findings
from benchmarks.records import by_patient
from benchmarks.words import HEAD, HOW


def record(value: float) -> dict:  # type: ignore[type-arg]
    images = [{"patient": f"p{n}", "psnr_foreground": value + n, "residual": {}} for n in range(3)]
    return {"images": images, "train_seconds": 180.0}


def test_no_figure_of_quality_is_typed_by_hand() -> None:
    assert not re.search(r"\d\s?dB", HEAD + HOW)


def test_a_sentence_follows_its_cells() -> None:
    table = {task: {"ours": record(30), "bm3d-true": record(29.5), "n2v": record(29)} for task in WHITE}
    text = " ".join(findings({MAIN: table}).split())
    assert "From a BM3D that is told the noise it is +0.50 dB, on colin27 gaussian-6, or more." in text
    assert "none is ahead of the default." in text
    table[WHITE[0]]["n2v"] = record(30.25)
    text = " ".join(findings({MAIN: table}).split())
    assert "but for Noise2Void, own schedule on colin27 gaussian-6 (+0.25 dB)" in text


def test_what_was_not_measured_is_not_told() -> None:
    assert findings({}) == ""
    assert "Volumes" not in findings({MAIN: {WHITE[0]: {"ours": record(30), "bm3d-true": record(29)}}})


def test_a_patient_with_many_images_counts_once() -> None:
    images = [{"patient": "a", "x": 1.0}, {"patient": "a", "x": 3.0}, {"patient": "b", "x": 5.0}, {"patient": "c"}]
    assert by_patient({"images": images}, "x") == {"a": 2.0, "b": 5.0}
    assert np.mean(list(by_patient({"images": images}, "x").values())) == 3.5


def test_what_started_otherwise_is_not_compared() -> None:
    table = {WHITE[1]: {"ours": record(30)}}
    table[WHITE[1]] |= {"supervised-l2": record(30.1), "supervised-start": record(30) | {"outdated": True}}
    text = " ".join(findings({MAIN: table}).split())
    assert "From it the default is -0.10 to -0.10 dB" in text
    assert "By L1" not in text
    table[WHITE[1]]["supervised-l2"]["outdated"] = True
    assert "it is 0.10 dB lower" in " ".join(findings({MAIN: table}).split())
