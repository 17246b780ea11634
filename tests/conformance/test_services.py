"""What a running task asks of execplane: XComs, Variables, Connections; its log; and many at once."""

from __future__ import annotations

import hashlib
import json

from tests.conformance.deployed import Deployed
from tests.parts.eventually import eventually

ADD_SECRETS = """
from execplane.compose import Deployment, setup
deployment = Deployment(setup())
from execplane.store import secrets
secrets.set_variable(deployment.secrets, "greeting", "good morning")
secrets.set_connection(deployment.secrets, "warehouse",
    {"conn_type": "postgres", "host": "db", "login": "ada", "password": "correct horse"})
"""


def test_a_large_xcom_goes_through_the_blob_store_and_back(deployed: Deployed) -> None:
    run = deployed.trigger("passing")

    assert deployed.ended(run) == "success"
    (row,) = deployed.query(
        "SELECT * FROM execplane_xcom WHERE ti_id = ? AND key = 'return_value'", deployed.instance(run, "push").id
    )
    assert row.value is None
    blob = deployed.standalone.home / "blobs" / row.blob_sha256[:2]
    assert blob.is_dir()
    expected = hashlib.sha256(b"0123456789abcdef" * 327_680).hexdigest()
    assert deployed.xcom(run, "pull") == {"sha256": expected, "same": True}


def test_variables_and_connections_are_given_one_by_one_and_each_access_is_recorded(deployed: Deployed) -> None:
    deployed.python(ADD_SECRETS)
    run = deployed.trigger("asking")

    assert deployed.ended(run) == "success"
    assert deployed.xcom(run, "ask") == {
        "greeting": "good morning",
        "made": "new",
        "missing": "none",
        "login": "ada@db",
        "password_length": 13,
    }
    (attempt,) = deployed.attempts(run, "ask")
    rows = deployed.query("SELECT * FROM execplane_secretaccess WHERE attempt_id = ?", attempt.id)
    assert {(row.kind, row.name, bool(row.found)) for row in rows} == {
        ("variable", "greeting", True),
        ("variable", "made_by_task", True),
        ("variable", "missing", False),
        ("connection", "warehouse", True),
    }
    shown = " ".join(deployed.messages(attempt.id))
    assert "correct horse" not in shown


def test_the_log_is_live_and_its_offsets_have_no_gap(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "chatter")
    visit = deployed.visit(run)
    (attempt,) = deployed.attempts(run)

    eventually(lambda: "before 99" in deployed.messages(attempt.id), 20, on_failure=lambda: deployed.evidence(run))
    assert deployed.attempts(run)[0].state == "running"
    visit.release()

    assert deployed.ended(run) == "success"
    records = deployed.records(attempt.id)
    assert [record["offset"] for record in records] == list(range(len(records)))
    told = [record["message"] for record in records]
    expected = [f"{when} {number}" for when in ("before", "after") for number in range(100)]
    assert [line for line in told if line.split()[0] in ("before", "after")] == expected
    page = json.loads(deployed.standalone.get(f"/attempts/{attempt.id}/log.json"))
    assert page["produced"] == len(records)
    assert page["page"]["gaps"] == []


def test_twenty_tasks_run_within_the_executors_slots(deployed: Deployed) -> None:
    held = deployed.executor != "sequential"
    run = deployed.trigger("parallel", "hold" if held else "done")

    if held:
        eventually(
            lambda: len(deployed.recorder.visits_of_run(run)) == 20, 90, on_failure=lambda: deployed.evidence(run)
        )
        for visit in deployed.recorder.visits_of_run(run):
            visit.release()

    assert deployed.ended(run, 120) == "success"
    assert len(deployed.recorder.visits_of_run(run)) == 20, "each task started exactly once"
    assert deployed.recorder.most_at_once(run) == (20 if held else 1)
