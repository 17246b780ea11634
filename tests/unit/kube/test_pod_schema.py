"""The committed schema is what the installed client library says."""

from __future__ import annotations

from execplane.kube.export_pod_schema import TARGET, text


def test_the_schema_file_is_current() -> None:
    assert TARGET.read_text() == text(), "run: python -m execplane.kube.export_pod_schema"
