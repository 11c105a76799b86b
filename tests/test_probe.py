from diffdenoise.probe import _Nothing, loop_seconds, seconds_per_step


def test_the_loop_around_a_step_counts() -> None:
    assert 0 < loop_seconds("cpu") < seconds_per_step(_Nothing(), "cpu")
