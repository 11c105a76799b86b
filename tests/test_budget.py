from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise import budget as budgets
from diffdenoise.budget import SHARES, Planner, parse_budget, share, tell_of_steps
from diffdenoise.errors import ConfigError
from diffdenoise.presets import FAST, PRESETS, make_config


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), (" 2M ", 120)]
)
def test_times_people_write(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "-5m", "0", "m10", "90", "9" * 400 + "h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"budget .* is not a time"):
        parse_budget(text)


@pytest.mark.parametrize("given", ["0s", "0h0m", 0, -3.0])
def test_no_time_at_all_is_refused(given: str | float) -> None:
    with pytest.raises(ConfigError, match=r"budget of .* nothing can be trained"):
        parse_budget(given)


@given(st.integers(1, 5))
def test_the_shares_of_what_is_left_use_all_of_it_up(rounds: int) -> None:
    """If sampling takes the time that is kept for it, every stage gets its share of the whole."""
    left, given_to = 1.0, []
    slices = share("teacher", 1, rounds)
    a_round = SHARES["teacher"] + SHARES["diffusion"] + SHARES["student"]
    whole = SHARES["blind_spot"] + rounds * a_round
    left -= left * share("blind_spot", 1, rounds)
    assert left * slices == pytest.approx(rounds * SHARES["teacher"] / whole)
    for number in range(1, rounds + 1):
        given_to.append(left * share("diffusion", number, rounds))
        left -= given_to[-1] + SHARES["teacher"] / whole
        given_to.append(left * share("student", number, rounds))
        left -= given_to[-1]
    assert left == pytest.approx(0, abs=1e-9)
    assert given_to == pytest.approx(rounds * [SHARES["diffusion"] / whole, SHARES["student"] / whole])


class Clock:
    """A machine on which a step takes `per_step` seconds when it is measured and `slower` times as long in earnest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_step: float, slower: float) -> None:
        self.now, self.per_step, self.slower, self.corrected = 0.0, per_step, slower, False
        monkeypatch.setattr(budgets.time, "monotonic", lambda: self.now)

    def planner(self, path: Path, budget: float) -> Planner:
        return Planner(path, "key", budget, dict.fromkeys(SHARES, lambda: self.per_step), 1000, self.now)

    def fit(self, planner: Planner, begun: int = 0, killed: int = 0) -> dict[str, int]:
        """Steps of each stage; begun: so many of the first one are done already; killed: after so many of them."""
        config, steps = PRESETS["cpu"], {}
        for stage in SHARES:
            config = planner.decide(stage, 1, config)
            count = config.teacher.slices if stage == "teacher" else getattr(config, stage).steps
            steps[stage] = count or planner.slices
            if stage != "teacher" and self.corrected:
                pace, pacer = planner.pace(stage, 1, steps[stage])
                done = begun if stage == "blind_spot" else 0
                while done < pace.steps:
                    done += 1
                    if stage == "blind_spot" and done == killed:
                        raise KeyboardInterrupt
                    self.now += self.per_step * self.slower
                    pace = pacer(done, pace)
                steps[stage] = done
            else:
                self.now += steps[stage] * self.per_step * self.slower
        return steps


@given(budget=st.floats(60, 10_000), per_step=st.floats(0.001, 0.1), slower=st.floats(0.75, 1.3))
def test_a_fit_ends_about_when_its_budget_does(budget: float, per_step: float, slower: float) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        clock = Clock(patch, per_step, slower)
        clock.fit(clock.planner(Path(folder) / "plan.json", budget))
        # only the last stage's misjudgement is left, and it has a half of what the others used
        assert clock.now == pytest.approx(budget, rel=0.2, abs=60 * per_step)


@given(budget=st.floats(60, 300), slower=st.floats(0.03, 3))  # below 0.25 all is done before a quarter of the time
@settings(max_examples=20)
def test_corrected_on_the_way_it_ends_when_its_budget_does(budget: float, slower: float) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        clock = Clock(patch, 0.1, slower)
        clock.corrected = True
        first = clock.fit(clock.planner(Path(folder) / "plan.json", budget))
        taught = first["teacher"] * 0.1 * slower  # how many slices are sampled is not corrected
        assert clock.now == pytest.approx(budget, rel=0.04, abs=0.3 * taught + 1)
        clock.slower = 1.0
        assert clock.fit(clock.planner(Path(folder) / "plan.json", budget)) == first  # resumed, whatever the speed


def test_where_no_time_is_left_a_few_steps_are_taken_all_the_same(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch, 0.1, 1.0)
        clock.corrected = True
        planner = clock.planner(tmp_path / "plan.json", 0.1)
        clock.now = 5.0  # preparing took longer than all of it
        taken = clock.fit(planner)
    assert all(taken[stage] == budgets.FEWEST_STEPS for stage in ("blind_spot", "diffusion", "student"))


def test_a_resumed_fit_takes_the_recorded_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.05, 1.0)
    first = clock.fit(clock.planner(tmp_path / "plan.json", 300))
    clock.per_step = 0.2
    assert clock.fit(clock.planner(tmp_path / "plan.json", 300)) == first


@pytest.mark.parametrize("slower", [0.05, 1.0, 5.0])
def test_no_more_steps_are_taken_than_there_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float
) -> None:
    def taken(most: int) -> int:
        clock = Clock(monkeypatch, 0.1, slower)
        planner = clock.planner(tmp_path / f"{most}.json", 100)
        done, (pace, pacer) = 0, planner.pace("student", 1, planner.decide("student", 1, FAST, most).student.steps)
        while done < pace.steps:
            done, clock.now = done + 1, clock.now + 0.1 * slower
            pace = pacer(done, pace)
        return done

    free = taken(10**9)
    assert free == pytest.approx(980 / slower, rel=0.05)
    assert [taken(most) for most in (7, free // 2, 2 * free)] == [7, free // 2, free]
    unlimited = Planner(tmp_path / "plan.json", "key", None, {}, 10, 0.0)
    assert unlimited.decide("student", 1, FAST, 7) == make_config("fast", {"student": {"steps": 7}})
    assert unlimited.decide("student", 1, FAST, 10**9) == FAST


def test_an_interruption_costs_the_stage_its_planned_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.05, 1.0)
    clock.corrected = True
    whole = clock.fit(clock.planner(tmp_path / "whole.json", 300))
    with pytest.raises(KeyboardInterrupt):
        clock.fit(clock.planner(tmp_path / "plan.json", 300), killed=100)
    again = clock.fit(clock.planner(tmp_path / "plan.json", 300), begun=80)  # from its last checkpoint on
    assert again["blind_spot"] == whole["blind_spot"]
    assert again == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize(("budget", "preset", "told"), [(60, "cpu", 1), (60, "smoke", 0), (10_000, "cpu", 0)])
def test_a_budget_that_leaves_no_room_to_learn_in_is_told_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    budget: int,
    preset: str,
    told: int,
) -> None:
    clock = Clock(monkeypatch, 0.5, 1.0)
    planner = clock.planner(tmp_path / "plan.json", budget)
    clock.now = 40.0  # for preparing
    with caplog.at_level("WARNING", logger="diffdenoise"):
        for stage in SHARES:
            planner.decide(stage, 1, PRESETS[preset])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == told
    assert all("far too few" in message and "longer budget" in message for message in messages)


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf")])
def test_numbers_that_are_no_time_are_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="budget"):
        parse_budget(seconds)
    assert parse_budget(1.5) == 1.5


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ""),
        ({"student": {"steps": 7}}, "student.steps = 7: does nothing"),
        ({"blind_spot": {"steps": 3}, "student": {"steps": 7}}, "blind_spot.steps = 3, student.steps = 7: does"),
    ],
)
def test_steps_that_a_budget_replaces_are_told(caplog: pytest.LogCaptureFixture, settings: dict, told: str) -> None:
    with caplog.at_level("INFO", logger="diffdenoise"):
        tell_of_steps(make_config("cpu", settings))
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_without_a_budget_the_config_stays(tmp_path: Path) -> None:
    planner = Planner(tmp_path / "plan.json", "key", None, {}, 10, 0.0)
    assert all(planner.decide(stage, 1, PRESETS["cpu"]) == PRESETS["cpu"] for stage in SHARES)
    assert not (tmp_path / "plan.json").exists()
