"""`python -m execplane.metrics > docs/metrics.md`"""

from __future__ import annotations

import sys

from execplane.metrics.reference import render

sys.stdout.write(render())
