"""Launch holds over the public API."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.clock import SystemClock
from execplane.store import launch_wave_rows
from tests.integration.public_api.conftest import basic, get, post

pytestmark = pytest.mark.django_db


def test_a_hold_is_made_listed_and_released() -> None:
    made = post("/launchHolds", {"scope": "namespace", "name": "etl", "reason": "upgrade", "until": "2h"})
    assert made.status_code == 201
    pk = made.json()["hold_id"]

    (row,) = get("/launchHolds").json()["launch_holds"]
    assert (row["hold_id"], row["scope"], row["name"], row["author"]) == (pk, "namespace", "etl", "ann")
    assert row["until"] is not None

    assert post(f"/launchHolds/{pk}/release").status_code == 200
    assert post(f"/launchHolds/{pk}/release").status_code == 409
    assert get("/launchHolds").json()["launch_holds"] == []
    assert get("/launchHolds", ended="true").json()["launch_holds"][0]["ended_by"] == "ann"


def test_only_staff_may_and_bad_words_are_refused() -> None:
    asked = {"scope": "all", "reason": "upgrade"}
    assert post("/launchHolds", asked, headers=basic("bob", "b-pass")).status_code == 403
    for wrong in ({"scope": "all"}, {**asked, "name": "x"}, {**asked, "scope": "planet"}, {**asked, "for": "2h"}):
        assert post("/launchHolds", wrong).status_code == 400, wrong
    assert post("/launchHolds/999/release").status_code == 404


def test_the_list_is_paged() -> None:
    for number in range(3):
        post("/launchHolds", {"scope": "namespace", "name": f"n{number}", "reason": "upgrade"})
    first = get("/launchHolds", limit=2).json()
    rest = get("/launchHolds", limit=2, after=first["next"]).json()
    assert [row["name"] for row in first["launch_holds"] + rest["launch_holds"]] == ["n2", "n1", "n0"]
    assert rest["next"] is None


def test_waves_are_told_and_ended() -> None:
    row: dict[str, Any] = {
        "cause": "c",
        "total": 100,
        "size": 10,
        "number": 1,
        "before": 0,
        "launched": 4,
        "well": 2,
        "failed": 0,
    }
    launch_wave_rows.begin(launch_wave_rows.WaveRow(executor="local", began_at=SystemClock().now(), **row))
    (wave,) = get("/launchWaves").json()["launch_waves"]
    assert (wave["executor"], wave["launched"], wave["wave"]["well"]) == ("local", 4, 2)
    assert post("/launchWaves/local/launchAll", headers=basic("bob", "b-pass")).status_code == 403
    assert post("/launchWaves/local/launchAll").status_code == 200
    assert post("/launchWaves/local/launchAll").status_code == 409
