"""Why a task instance does not run: Airflow's address `…/dependencies` and its shape, with more in it."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from execplane.actions import pending
from execplane.api.public.views import View
from execplane.contract.keys import NOT_MAPPED
from execplane.contract.pending import Reason


class Dependencies(View):
    def get(self, request: Request, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> Response:
        """Empty `dependencies`: it waits for nothing. The first one is what holds it."""
        asked = pending.current().task_instance(dag_id, run_id, task_id, map_index)
        answer = asked.pending
        found = [_dependency(one) for one in (answer.first, *answer.others)] if asked.is_pending else []
        unread = [{"what": one.what, "why": one.why, "allow": one.rule or None} for one in answer.unread]
        return Response(
            {
                "dependencies": found,
                "sentence": answer.sentence,
                "attempt_id": asked.attempt_id,
                "queued_at": asked.queued_at,
                "unread": unread,
            }
        )


def _dependency(one: Reason) -> dict[str, Any]:
    return {
        "name": one.code,
        "reason": one.sentence,
        "unblocks": one.then or None,
        "since": one.since,
        "source": one.source,
        "said": one.said or None,
    }
