"""What a running attempt asks and reports: heartbeats, log lines, XComs, secrets, blobs, bundles, the end."""

from __future__ import annotations

import hashlib
import http.client
import io
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.api.worker.app import MOST_BODY_BYTES, PREFIX
from execplane.bundles.folder import Folder
from execplane.bundles.options import BundleOptions
from execplane.bundles.snapshot import Snapshotter
from execplane.contract.logs import LogRecord
from execplane.contract.loops import at
from execplane.contract.messages import (
    Accepted,
    EndAnswer,
    ErrorInfo,
    Heartbeat,
    HeartbeatAnswer,
    LogBatch,
    SecretValue,
    XComPull,
)
from execplane.contract.states import AttemptState, TaskState
from execplane.loops.beats import BeatLoop
from execplane.store import secrets
from execplane.store.models import Attempt, AttemptEvent, SecretAccess, XCom
from execplane.store.transitions import ending
from tests.integration.worker_api.conftest import NONCE, Caller, key_of, value

BEAT = Heartbeat(nonce=NONCE, log_offset=7)


# Heartbeats


def test_heartbeats_are_written_once_a_second_all_together(caller: Caller) -> None:
    first = caller.running()
    mine = caller.token
    second = caller.running("load")
    caller.clock.advance(5)

    for _ in range(20):
        for token in (mine, caller.token):
            caller.call("POST", "heartbeat", BEAT, token=token).read(HeartbeatAnswer)
    assert Attempt.objects.filter(heartbeat_at=caller.now).count() == 0

    with CaptureQueriesContext(connection) as queries:
        following = BeatLoop(caller.api.beats.flush).tick(caller.now)
    writes = [query for query in queries.captured_queries if query["sql"].startswith("UPDATE")]
    assert len(writes) == 2, "one an attempt, however many heartbeats came"
    assert following == at(caller.now + timedelta(seconds=1))
    rows = Attempt.objects.filter(pk__in=[first.pk, second.pk])
    assert {(row.heartbeat_at, row.log_offset) for row in rows} == {(caller.now, 7)}


def test_a_heartbeat_says_who_wants_the_attempt_to_stop(caller: Caller) -> None:
    attempt = caller.running()
    assert not caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer).stop

    ending.request_stop([attempt.pk], actor="ada", reason="cancelled by ada", then="", now=caller.now)

    answer = caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer)
    assert (answer.stop, answer.reason) == (True, "cancelled by ada")
    assert caller.end(outcome="terminated").read(EndAnswer).state == "cancelled"


def test_a_heartbeat_and_a_log_batch_tell_the_worker_whether_somebody_reads_along(caller: Caller) -> None:
    attempt = caller.running()
    batch = LogBatch(nonce=NONCE, records=())
    assert not caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer).watched

    caller.api.watched.touch(attempt.pk)

    assert caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer).watched
    assert caller.call("POST", "logs", batch).read(Accepted).watched


@pytest.mark.parametrize("by", ["heartbeat", "end"])
def test_rendered_fields_are_kept_whatever_is_in_them(caller: Caller, by: str) -> None:
    attempt = caller.running()
    rendered = {"bash_command": "printf 'a\0b'", "deep": [{"x": "\0", "n": 1}], "text": "\\u0000"}

    if by == "heartbeat":
        beat = Heartbeat(nonce=NONCE, log_offset=0, rendered=rendered, bundle_found="c" * 64)
        caller.call("POST", "heartbeat", beat).read(HeartbeatAnswer)
    else:
        assert caller.end(rendered=rendered, bundle_found="c" * 64).read(EndAnswer).state == "success"

    row = Attempt.objects.get(pk=attempt.pk)
    assert row.rendered == {"bash_command": "printf 'a\ufffdb'", "deep": [{"x": "\ufffd", "n": 1}], "text": "\\u0000"}
    assert row.bundle_found == "c" * 64


# Log lines


def records(caller: Caller, *offsets: int) -> LogBatch:
    lines = tuple(LogRecord(offset=offset, at=caller.now, message=f"line {offset}") for offset in offsets)
    return LogBatch(nonce=NONCE, records=lines)


def test_log_lines_are_kept_once_however_often_they_are_sent(caller: Caller) -> None:
    attempt = caller.running()

    for batch in (records(caller, 0, 1, 2), records(caller, 1, 2, 3), records(caller, 0, 1, 2)):
        assert caller.call("POST", "logs", batch).read(Accepted).accepted
    caller.end(logs=records(caller, 3, 4).records, log_offset=5)
    caller.call("POST", "logs", records(caller, 4, 3))

    page = caller.api.logs.read(key_of(attempt))  # type: ignore[attr-defined]
    assert [(record.offset, record.message) for record in page.records] == [(n, f"line {n}") for n in range(5)]
    assert page.gaps == ()


# The end


def test_an_end_is_accepted_again_and_counts_once(caller: Caller) -> None:
    attempt = caller.running()

    first = caller.end(xcoms=(value(42),), map_length=None).read(EndAnswer)
    again = caller.end(xcoms=(value(43),)).read(EndAnswer)
    contrary = caller.end(outcome="failed").read(EndAnswer)

    assert {first, again, contrary} == {EndAnswer(accepted=True, state="success")}
    assert caller.instance().state == TaskState.SUCCESS
    assert bytes(XCom.objects.get(ti_id=attempt.ti_id).value or b"") == b"42"
    moves = AttemptEvent.objects.filter(attempt_id=attempt.pk, to_state="success").exclude(from_state="success")
    assert moves.count() == 1


def test_a_failure_is_told_in_the_workers_words_and_tried_again(caller: Caller) -> None:
    attempt = caller.running()

    error = ErrorInfo(type="ValueError", message="a bad\0day", traceback="…", line=3)
    assert caller.end(outcome="failed", error=error).read(EndAnswer).state == "failed"

    row = Attempt.objects.get(pk=attempt.pk)
    assert row.category == "task_failed"
    assert "ValueError: a bad" in row.reason
    instance = caller.instance()
    assert (instance.state, instance.author_failures) == (TaskState.UP_FOR_RETRY, 1)
    assert instance.eligible_at == caller.now + timedelta(seconds=60)


def test_an_end_keeps_what_was_measured(caller: Caller) -> None:
    attempt = caller.running()
    started = caller.now
    caller.clock.advance(3)

    caller.end(log_offset=12, peak_memory_bytes=9_000_000, user_code_started_at=started, map_label="red" * 100)

    row = Attempt.objects.get(pk=attempt.pk)
    assert (row.log_offset, row.peak_memory_bytes, row.user_code_at) == (12, 9_000_000, started)
    assert caller.instance().map_label == ("red" * 100)[:250]


# Variables and Connections


def test_each_access_to_a_secret_is_recorded_once_and_only_what_is_asked_for_is_given(caller: Caller) -> None:
    box = caller.api.secrets
    secrets.set_variable(box, "a/b c", "v")
    secrets.set_variable(box, "unasked", "v")
    secrets.set_connection(box, "db", {"conn_type": "postgres", "host": "h", "login": "ada", "password": "hunter2"})
    attempt = caller.running()

    for _ in range(2):
        assert caller.call("GET", "variables/a%2Fb%20c").read(SecretValue) == SecretValue(value="v")
    found = msgspec.json.decode(caller.call("GET", "connections/db").read(SecretValue).value)
    absent = caller.call("GET", "variables/absent")
    caller.call("PUT", "variables/made", SecretValue(value="x", description="by a task")).read(Accepted)
    caller.call("DELETE", "variables/made").read(Accepted)

    assert (found["login"], found["password"]) == ("ada", "hunter2")
    assert (absent.status, absent.refusal.code) == (404, "not_found")
    assert secrets.variable(box, "made") is None
    rows = SecretAccess.objects.filter(attempt_id=attempt.pk).values_list("kind", "name", "found")
    assert set(rows) == {
        ("variable", "a/b c", True),
        ("connection", "db", True),
        ("variable", "absent", False),
        ("variable", "made", True),
    }


@pytest.mark.parametrize("name", ["%00", "k" * 251])
def test_a_name_that_no_variable_can_have_is_refused(caller: Caller, name: str) -> None:
    caller.running()

    for call in (("GET", f"variables/{name}"), ("GET", f"connections/{name}"), ("DELETE", f"variables/{name}")):
        answer = caller.raw(*call)
        assert (answer.status, answer.refusal.code) == (400, "malformed")


# Blobs and bundles


def test_a_blob_is_streamed_both_ways(caller: Caller) -> None:
    caller.running()
    data = bytes(range(256)) * 20_000
    digest = hashlib.sha256(data).hexdigest()

    assert caller.raw("PUT", f"blobs/{digest}", data).status == 200
    answer = caller.raw("GET", f"blobs/{digest}")

    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    assert answer.body == data


def test_a_blob_that_is_not_what_its_name_says_is_refused_and_not_kept(caller: Caller) -> None:
    caller.running()
    digest = hashlib.sha256(b"something else").hexdigest()

    answer = caller.raw("PUT", f"blobs/{digest}", b"data" * 500_000)

    assert (answer.status, answer.refusal.code) == (400, "malformed")
    assert caller.raw("GET", f"blobs/{digest}").status == 404
    assert caller.raw("PUT", "blobs/..%2f..%2fetc", b"x").status == 400
    assert caller.raw("GET", "blobs/nonsense").status == 400


def test_a_blob_above_the_largest_xcom_is_refused(caller: Caller) -> None:
    caller.running()
    data = b"x" * 10_000_001
    digest = hashlib.sha256(data).hexdigest()

    assert caller.raw("PUT", f"blobs/{digest}", data).status == 400
    assert not caller.api.blobs.has(digest)


def test_an_upload_that_breaks_off_leaves_nothing_and_holds_no_thread(caller: Caller) -> None:
    caller.running()
    digest = hashlib.sha256(b"x" * 1000).hexdigest()
    hanging = []
    for _ in range(8):
        half = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=10)
        half.putrequest("PUT", f"{PREFIX}blobs/{digest}")
        half.putheader("Authorization", f"Bearer {caller.token}")
        half.putheader("Content-Length", "1000")
        half.endheaders(b"x" * 500)
        hanging.append(half)

    assert caller.call("POST", "heartbeat", BEAT).status == 200, "slow uploads keep no heartbeat waiting"
    for half in hanging:
        half.close()
    assert caller.raw("PUT", f"blobs/{digest}", b"x" * 1000).status == 200
    assert caller.raw("GET", f"blobs/{digest}").body == b"x" * 1000


def test_a_bundle_comes_as_an_archive_of_its_files(caller: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "orders.py").write_text("x = 1\n")
    options = BundleOptions()
    blobs: Any = caller.api.blobs
    taken = Snapshotter(Folder(folder, options), blobs=blobs, options=options, clock=caller.clock).take()
    caller.running()

    answer = caller.raw("GET", f"bundles/{taken.digest}")

    assert (answer.status, answer.content_type) == (200, "application/gzip")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        file = archive.extractfile("orders.py")
        assert file is not None
        assert file.read() == b"x = 1\n"
    unknown = caller.raw("GET", f"bundles/{'0' * 64}")
    assert (unknown.status, unknown.refusal.code) == (404, "not_found")


# Errors


def test_a_body_above_the_limit_is_refused_and_its_sender_hears_it(caller: Caller) -> None:
    caller.running()

    answer = caller.raw("POST", "logs", b"x" * (MOST_BODY_BYTES + 3_000_000))

    assert (answer.status, answer.refusal.code) == (413, "too_large")
    assert caller.raw("POST", "logs", b"x" * MOST_BODY_BYTES).status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "claim", b"not json", 400),
        ("POST", "claim", b"{}", 400),
        ("POST", "heartbeat", b'{"nonce": 1}', 400),
        ("POST", "heartbeat", b"\xff\xfe", 400),
        ("POST", "end", b'{"nonce": "n", "outcome": "success"}', 400),
        ("POST", "xcoms/pull", b'{"task_ids": "extract"}', 400),
        ("GET", "nothing/here", None, 404),
        ("DELETE", "claim", None, 404),
        ("GET", "", None, 404),
        ("GET", "variables/", None, 404),
    ],
)
def test_what_is_wrong_is_answered_by_a_refusal(
    caller: Caller, method: str, path: str, body: bytes | None, status: int
) -> None:
    caller.running()

    answer = caller.raw(method, path, body)

    assert answer.status == status
    assert answer.refusal.message
    assert b"Traceback" not in answer.body


def test_a_fault_of_ours_is_a_refusal_without_its_traceback(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    caller.running()

    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("execplane.actions.worker.pull", broken)
    answer = caller.call("POST", "xcoms/pull", XComPull())

    assert (answer.status, answer.refusal.code) == (503, "unavailable")
    assert b"secret detail" not in answer.body


def test_a_text_that_the_database_cannot_hold_is_refused_and_not_asked_again(caller: Caller) -> None:
    attempt = caller.launched()

    answer = caller.claim(attempt, uid="u" * 300)

    # SQLite holds texts of any length.
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.refusal.code == "malformed"
        assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.LAUNCHED
