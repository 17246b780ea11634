"""Launches in waves: never more at once than the wave before has earned, and never many more failures than a wave's."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from execplane.executors.driver.waves import (
    Verdict,
    Wave,
    WaveOptions,
    begin,
    following,
    may_go,
    needed,
    taken_over,
    verdict,
)

OPTIONS = st.builds(
    WaveOptions,
    from_waiting=st.integers(1, 50),
    first=st.integers(1, 20),
    failing_share=st.floats(0, 0.9, allow_nan=False),
)


@given(options=OPTIONS, waiting=st.integers(0, 2000), failing=st.randoms(use_true_random=False), share=st.floats(0, 1))
def test_played_to_its_end_it_launches_all_or_stops_early(
    options: WaveOptions, waiting: int, failing: object, share: float
) -> None:
    """Every launch is settled in its turn; each fails with the same chance."""
    wave = begin(waiting, "an outage", options)
    assert (wave is None) == (waiting <= options.from_waiting)
    if wave is None:
        return
    left, failed_in_all = waiting, 0
    for _ in range(10_000):
        match verdict(wave, left, options):
            case Verdict.DONE:
                assert wave.before + wave.launched == waiting
                return
            case Verdict.STOP:
                assert wave.failed > wave.size - needed(wave, options)
                assert may_go(wave, left, options) == 0
                return
            case Verdict.NEXT:
                assert wave.well >= needed(wave, options)
                size = wave.size
                wave = following(wave)
                assert (wave.size, wave.launched) == (size * 2, 0)
            case Verdict.GO_ON:
                go = may_go(wave, left, options)
                assert go <= wave.size - wave.launched
                assert go > 0, "all that was launched is settled, so something may go"
                go = failing.randint(1, go)  # type: ignore[attr-defined]
                bad = sum(failing.random() < share for _ in range(go))  # type: ignore[attr-defined]
                left, failed_in_all = left - go, failed_in_all + bad
                wave = replace(wave, launched=wave.launched + go, well=wave.well + go - bad, failed=wave.failed + bad)
    raise AssertionError("it neither ended nor stopped")


@given(options=OPTIONS, waiting=st.integers(1, 10_000))
def test_when_everything_fails_little_more_is_lost_than_the_first_wave(options: WaveOptions, waiting: int) -> None:
    wave = begin(waiting, "an outage", options)
    if wave is None:
        return
    go = may_go(wave, waiting, options)
    assert go == min(options.first, waiting)
    broken = replace(wave, launched=go, failed=go)
    if go == wave.size:
        assert verdict(broken, waiting - go, options) is Verdict.STOP


@given(options=OPTIONS, launched=st.integers(0, 10), well=st.integers(0, 10))
def test_what_has_not_started_yet_holds_the_next_wave_back(options: WaveOptions, launched: int, well: int) -> None:
    wave = Wave(cause="c", total=1000, size=10, launched=launched, well=min(well, launched))
    if verdict(wave, 500, options) is Verdict.NEXT:
        assert launched == 10
        assert wave.well >= needed(wave, options)


@given(
    options=OPTIONS, well=st.integers(0, 20), failed=st.integers(0, 20), room=st.integers(0, 20), late=st.integers(0, 5)
)
def test_who_waits_for_room_is_neither_a_start_nor_a_failure(
    options: WaveOptions, well: int, failed: int, room: int, late: int
) -> None:
    """As if the wave had been so much smaller; only what stops it is counted of all."""
    size = max(well + failed + room + late, 1)
    wave = Wave(cause="c", total=1000, size=size, launched=size, well=well, failed=failed)
    found = verdict(wave, 500, options, room)
    assert (found is Verdict.STOP) == (failed > size - needed(wave, options))
    if found is not Verdict.STOP:
        rest = replace(wave, size=size - room)
        assert (found is Verdict.NEXT) == (well >= needed(rest, options))


def test_waves_are_off_at_zero() -> None:
    assert begin(10_000, "c", WaveOptions(from_waiting=0)) is None


def test_a_driver_that_takes_over_begins_the_wave_anew() -> None:
    wave = Wave(cause="c", total=1000, size=20, number=2, before=10, launched=7, well=3, failed=1)
    anew = taken_over(wave)
    assert (anew.number, anew.size, anew.before, anew.launched, anew.well, anew.failed) == (2, 20, 17, 0, 0, 0)


def test_the_sentence_says_where_it_stands() -> None:
    wave = Wave(cause="the DAG sales was unpaused", total=1400, size=20, number=2, before=10, launched=10, well=4)
    assert wave.sentence == (
        "Launches go out in waves (the DAG sales was unpaused): wave 2 of about 8, 20 of 1,400 launched; in this "
        "wave of 20, 4 started well and 0 failed."
    )
