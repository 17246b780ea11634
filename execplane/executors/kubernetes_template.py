"""Pod template files: read, checked, and kept until they change."""

from __future__ import annotations

import threading
from pathlib import Path

import yaml

from execplane.contract.errors import InvalidInput
from execplane.pods.default_template import default_template
from execplane.pods.layers import TEMPLATE
from execplane.pods.merge import Layer
from execplane.pods.validate import check_template


class Templates:
    """Reads a template file once per change of it."""

    def __init__(self, default_file: str) -> None:
        self._default_file = default_file
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int, int], Layer]] = {}
        self._builtin = default_template()

    def default(self) -> Layer:
        """The deployment's template."""
        return self.load(self._default_file) if self._default_file else self._builtin

    def load(self, path: str) -> Layer:
        """The template in that file. Raises InvalidInput that names the file and what is wrong with it."""
        try:
            found = Path(path).stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            with self._lock:
                known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"Pod template {path} cannot be read: {error}.",
                hint="Check pod_template_file: the path is looked up where the executor runs.",
            ) from error
        layer = Layer(name=TEMPLATE, source=path, pod=_parse(text, path))
        check_template(layer)
        with self._lock:
            self._known[path] = (stamp, layer)
        return layer


def _parse(text: str, path: str) -> dict[str, object]:
    """Whatever the YAML holds; `check_template` says whether it is a Pod."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(
            f"Pod template {path} is not YAML{where}: {getattr(error, 'problem', None) or error}.",
            hint="Mend the file; kubectl create --dry-run=client -f shows the same.",
        ) from error
    if len(documents) > 1:
        raise InvalidInput(f"Pod template {path} holds {len(documents)} documents.", hint="It must be one Pod.")
    return documents[0] if documents else None  # type: ignore[return-value]
