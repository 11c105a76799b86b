from __future__ import annotations

import logging
import re

import pytest

from diffdenoise.cli import main
from diffdenoise.text import OF_A_SERVICE, some_of, tell_in_plain_lines


def test_of_many_names_the_first_are_told_and_of_few_all() -> None:
    assert some_of(["a"]) == "a"
    assert some_of(["a", "b", "c"]) == "a, b, c"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_messages_are_plain_lines_and_those_of_a_service_have_time_and_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("diffdenoise")
    tell_in_plain_lines()
    log.warning("It is %s.", "so")
    assert capsys.readouterr().err == "It is so.\n"
    tell_in_plain_lines(OF_A_SERVICE)
    log.warning("It is %s.", "so")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}"
    assert re.fullmatch(rf"{stamp} WARNING It is so\.\n", capsys.readouterr().err)


def test_the_node_says_when_it_could_not_start_and_other_commands_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--forward", "nowhere"])
    assert re.match(r"\d{4}-\S+ \S+ ERROR diffdenoise: --forward nowhere", capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main(["info", "nothing.nii"])
    assert capsys.readouterr().err.startswith("diffdenoise: nothing.nii")
