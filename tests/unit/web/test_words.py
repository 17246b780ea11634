"""Times and sizes in words; a pod in the parts that explain it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from execplane.web import podview, words
from execplane.web.templatetags.ui import schedule

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0123, "12 ms"),
        (3.21, "3.2 s"),
        (42, "42 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7440, "2 h 4 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (-30, "30 s ago"), (-3700, "1 h ago"), (90, "in 1 min"), (-86400 * 400, "1 y ago")],
)
def test_hints_are_relative_to_now(seconds: float, text: str) -> None:
    assert words.ago(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")])
def test_sizes_are_binary(n: int, text: str) -> None:
    assert words.size(n) == text


@pytest.mark.parametrize(
    ("written", "shown"),
    [("0:05:00", "every 5 min"), ("1 day, 0:00:00", "every 1 d"), ("@daily", "@daily"), ("0 3 * * *", "0 3 * * *")],
)
def test_a_timedelta_schedule_is_said_in_words(written: str, shown: str) -> None:
    assert schedule(written) == shown


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(), st.integers(), st.booleans(), st.none()), max_size=5))
def test_the_yaml_of_a_pod_means_what_was_sent(body: dict[str, object]) -> None:
    import json

    assert (yaml.safe_load(podview.as_yaml(json.dumps(body).encode())) or {}) == body


def test_marked_up_yaml_is_escaped() -> None:
    lines = podview.yaml_lines(b'{"a<b": "<script>", "n": 1}')

    assert "".join(lines).count("<script>") == 0
    assert '<span class="y-atom"> 1</span>' in lines[1]


def test_a_pod_s_status_survives_whatever_the_api_server_says() -> None:
    for odd in (None, {}, {"phase": None}, {"containerStatuses": None}, {"containerStatuses": [None, {"state": None}]}):
        status = podview.status(odd)
        assert status is None or isinstance(status.phase, str)


def test_a_pods_yaml_masks_what_a_name_calls_secret() -> None:
    env = [{"name": "API_TOKEN", "value": "hunter2"}, {"name": "REGION", "value": "eu"}]
    sent = json.dumps({"kind": "Pod", "spec": {"containers": [{"name": "base", "env": env}]}}).encode()

    shown = podview.as_yaml(sent)

    assert "hunter2" not in shown
    assert "'***'" in shown
    assert "eu" in shown
