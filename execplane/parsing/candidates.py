"""Which files may define DAGs. Pure: Airflow's safe mode, so that helper modules are not imported on their own."""

from __future__ import annotations

import re

from execplane.bundles.folder import Listing
from execplane.bundles.manifest import Manifest, ManifestFile

_MISSING_MODULE = re.compile(r"No module named '([^']+)'")


def python_files(manifest: Manifest, listing: Listing) -> dict[str, ManifestFile]:
    """The .py files of a bundle that .airflowignore does not hide, by path in path order."""
    return {
        file.path: file for file in manifest.files if file.path.endswith(".py") and not listing.is_hidden(file.path)
    }


def may_define_dags(text: bytes) -> bool:
    """Whether a file's text speaks of DAGs and of Airflow (or execplane) at all."""
    lowered = text.lower()
    return b"dag" in lowered and (b"airflow" in lowered or b"execplane" in lowered)


def hidden_module(error: str, listing: Listing) -> str:
    """A sentence about the module that an import error misses, if .airflowignore keeps it from the bundle."""
    found = _MISSING_MODULE.search(error)
    if found is None:
        return ""
    path = found[1].replace(".", "/")
    for hidden in sorted(listing.hidden):
        whole = hidden.rstrip("/")
        if whole in (path, f"{path}.py") or path.startswith(f"{whole}/"):
            return (
                f" {hidden} is named in .airflowignore, and so it is not in the bundle; take it out of there, or keep "
                "ignored files in bundles."
            )
    return ""
