"""The code page shows what runs: a changed function body makes a new bundle and no new version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from execplane.actions import dags as dag_actions
from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.manifest import ManifestFile, encode_manifest, make_manifest
from execplane.bundles.places import BundlePlaces
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.store import dag_versions
from execplane.store.models import DagVersion
from execplane.web import wiring
from tests.conftest import TestClock
from tests.integration.store.play import ADA

pytestmark = pytest.mark.django_db

SPEC = DagSpec(dag_id="sales", file="sales.py", tasks=(TaskSpec(task_id="load", operator="@task"),))
Save = Callable[[str], str]


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(FileBlobOptions(folder=tmp_path / "blobs"))


@pytest.fixture
def parts(clock: TestClock, tmp_path: Path, blobs: FileBlobStore) -> wiring.Parts:
    return wiring.Parts(clock=clock, bundles=BundlePlaces(tmp_path / "bundles", blobs))


@pytest.fixture
def save(clock: TestClock, blobs: FileBlobStore) -> Save:
    """The DAG's file gets this text, and the parse loop keeps it; gives the bundle's digest."""

    def save(text: str) -> str:
        file = ManifestFile(path="sales.py", sha256=blobs.put(text.encode()), size_bytes=len(text))
        digest = blobs.put(encode_manifest(make_manifest({"sales.py": file})))
        state = dag_versions.BundleState(name="dags", digest=digest, files=1, present=("sales.py",), problems={})
        dag_versions.save_bundle(state, now=clock.now())
        found = dag_versions.FileResult(file="sales.py", dags=(SPEC,), source=text.encode())
        dag_versions.save_files("dags", digest, [found], paused_at_creation=True, now=clock.now())
        return digest

    return save


def code(client: Client, **query: str) -> str:
    answer = client.get(reverse("dag-code", args=["sales"]), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_dag_shows_its_newest_text_and_a_run_the_text_that_it_runs(
    staff: Client, save: Save, clock: TestClock
) -> None:
    old = save("return 1 + 1")
    dag_actions.trigger(ADA, "sales", run_id="early++1", clock=clock)
    new = save("return 2 + 2")
    assert DagVersion.objects.count() == 1, "the body is no part of the version"

    newest = code(staff)
    assert "return 2 + 2" in newest
    assert "newest bundle" in newest
    assert new[:12] in newest

    of_run = code(staff, run="early++1")
    assert "return 1 + 1" in of_run
    assert old[:12] in of_run
    assert "return 1 + 1" in code(staff, version="1")


def test_a_run_leads_to_the_text_that_it_runs(staff: Client, save: Save, clock: TestClock) -> None:
    save("return 1 + 1")
    dag_actions.trigger(ADA, "sales", run_id="a+b&c", clock=clock)

    page = staff.get(reverse("run-details", args=["sales", "a+b&c"])).content.decode()

    assert f"{reverse('dag-code', args=['sales'])}?run=a%2Bb%26c" in page


def test_where_the_bundle_is_not_kept_the_page_says_so_and_shows_what_it_has(
    staff: Client, save: Save, clock: TestClock, blobs: FileBlobStore
) -> None:
    old = save("return 1 + 1")
    dag_actions.trigger(ADA, "sales", run_id="early", clock=clock)
    save("return 2 + 2")
    blobs.delete(old)

    page = code(staff, run="early")

    assert "return 1 + 1" in page
    assert "is not kept" in page


def test_a_run_that_there_is_not_is_named(staff: Client, save: Save) -> None:
    save("return 1 + 1")
    answer = staff.get(reverse("dag-code", args=["sales"]), {"run": "never"})
    assert answer.status_code == 404
