"""What Airflow's API has no address for: single attempts, by their ids."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from execplane.actions import attempts as attempt_actions
from execplane.api.public.views import View, acting
from execplane.contract.errors import NotFound
from execplane.contract.flight import plain
from execplane.store.queries import attempts, flights


class FlightRecord(View):
    def get(self, request: Request, attempt_id: int) -> Response:
        """What was kept of the attempt's pod: see docs/flight-record.md for the fields."""
        row = attempts.get_attempt(attempt_id)
        flight = flights.flight_of(row.id)
        if flight is None:
            raise NotFound(
                f"There is no flight record of attempt {row.id}.",
                hint="One is made in the seconds after a pod's end, and kept for kubernetes.flight_record_days.",
            )
        return Response(plain(flight))


class Release(View):
    def post(self, request: Request, attempt_id: int) -> Response:
        """Let a failed container go that is held for debugging. Its body is not read."""
        attempt_actions.release(acting(request), attempt_id)
        return Response({"message": f"The container of attempt {attempt_id} is let go."}, status=202)
