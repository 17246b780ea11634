"""The views: read the input, call an action or a query, give Airflow's shape back.

Lists are paged by key: `next` (null on the last page) goes into `?after=`. Users read, staff changes things.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from execplane.actions import dags as dag_actions
from execplane.actions import runs as run_actions
from execplane.actions import tasks as task_actions
from execplane.actions.actor import Actor
from execplane.api.public import inputs, shapes
from execplane.contract.clock import SystemClock
from execplane.contract.errors import InvalidInput
from execplane.contract.keys import NOT_MAPPED
from execplane.store.database import reachable
from execplane.store.queries import dags, runs, tasks
from execplane.store.queries.cli_task_instances import task_instances
from execplane.store.queries.system import loops

MOST_BODY_BYTES = 2 << 20
_SCHEDULER_SILENCE_SECONDS = 40.0
_clock = SystemClock()


class View(APIView):
    """What all views share."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            raise InvalidInput(f"The body has {length} bytes; {MOST_BODY_BYTES} are the most.")


def acting(request: Request) -> Actor:
    user: AbstractBaseUser | AnonymousUser = request.user
    may_act = bool(user.is_active and getattr(user, "is_staff", False))
    return Actor(name=user.get_username(), user_id=user.pk, may_act=may_act)


def valid(serializer: type[inputs.Strict], data: Any) -> dict[str, Any]:
    """What the request holds. Raises InvalidInput, and what the framework answers with 400."""
    if not hasattr(data, "items"):
        raise InvalidInput("The body is a JSON object.")
    made = serializer(data=dict(data.items()))
    made.is_valid(raise_exception=True)
    return dict(made.validated_data)


def page_key(after: str) -> int | None:
    """Where a page goes on. Raises InvalidInput."""
    if after and not after.isdecimal():
        raise InvalidInput(f"after={after!r} is not the `next` of an answer.")
    return int(after) if after else None


class Dags(View):
    def get(self, request: Request) -> Response:
        """?search, tag, paused, limit, after."""
        query = valid(inputs.DagsQuery, request.query_params)
        status = {None: "", True: "paused", False: "active"}[query["paused"]]
        wanted = dags.DagFilter(search=query["search"], tag=query["tag"], status=status)
        page = dags.list_dags(wanted, after=query["after"], limit=query["limit"], recent=1)
        return Response(
            {
                "dags": [shapes.dag(row) for row in page.rows],
                "total_entries": dags.count_dags(wanted).n,
                "next": page.next_key,
            }
        )


class Dag(View):
    def get(self, request: Request, dag_id: str) -> Response:
        return Response(shapes.dag(dags.get_dag(dag_id, recent=1)))

    def patch(self, request: Request, dag_id: str) -> Response:
        """{"is_paused": true|false}"""
        paused = valid(inputs.DagChange, request.data)["is_paused"]
        verb = dag_actions.pause if paused else dag_actions.unpause
        verb(acting(request), dag_id)
        return Response(shapes.dag(dags.get_dag(dag_id, recent=1)))


class Refresh(Dag):
    """A DAG named "refresh" stays readable at this address, too."""

    def post(self, request: Request, dag_id: str) -> Response:
        """Look at the DAG folders now: a CI webhook's verb. Its body is the sender's own and not read; repeating it
        is harmless."""
        dag_actions.refresh(acting(request))
        return Response({"message": "The DAG folders are looked at now."}, status=202)


class DagRuns(View):
    def get(self, request: Request, dag_id: str) -> Response:
        """?state, limit, after. "~" for all DAGs, as in Airflow."""
        query = valid(inputs.RunsQuery, request.query_params)
        wanted = "" if dag_id == "~" else dags.get_dag(dag_id, recent=1).dag_id
        page = runs.list_runs(
            dag_id=wanted, state=query["state"], before=page_key(query["after"]), limit=query["limit"]
        )
        return Response({"dag_runs": [shapes.dag_run(row) for row in page.rows], "next": _text(page.next_key)})

    def post(self, request: Request, dag_id: str) -> Response:
        """{"conf", "logical_date", "dag_run_id"}, all of them optional."""
        wanted = valid(inputs.NewRun, request.data)
        made = dag_actions.trigger(
            acting(request),
            dag_id,
            conf=wanted.get("conf"),
            logical_date=wanted.get("logical_date"),
            run_id=wanted.get("dag_run_id"),
        )
        return Response(shapes.dag_run(runs.get_run(made.dag_id, made.run_id)))


class DagRun(View):
    def get(self, request: Request, dag_id: str, run_id: str) -> Response:
        return Response(shapes.dag_run(runs.get_run(dag_id, run_id)))

    def patch(self, request: Request, dag_id: str, run_id: str) -> Response:
        """{"state": "failed"|"success"}; failed stops what is in flight."""
        run_actions.mark(acting(request), dag_id, run_id, valid(inputs.RunChange, request.data)["state"])
        return Response(shapes.dag_run(runs.get_run(dag_id, run_id)))


class ClearTaskInstances(View):
    def post(self, request: Request, dag_id: str) -> Response:
        """{"dag_run_id", "dry_run", "task_ids", …}: what is, or with a dry run would be, cleared."""
        wanted = valid(inputs.Clearing, request.data)
        task_ids, map_indexes = wanted.get("task_ids") or ([], None)
        cleared = task_actions.clear(
            acting(request),
            dag_id,
            wanted["dag_run_id"],
            task_ids,
            map_indexes=map_indexes,
            upstream=wanted["include_upstream"],
            downstream=wanted["include_downstream"],
            past=wanted["include_past"],
            future=wanted["include_future"],
            only_failed=wanted["only_failed"],
            latest=wanted["run_on_latest_version"],
            dry_run=wanted["dry_run"],
        )
        return Response(shapes.task_references(cleared))


class TaskInstance(View):
    def get(self, request: Request, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> Response:
        row = tasks.get_task(dag_id, run_id, task_id, map_index)
        return Response(shapes.task_instance(row, runs.get_run(dag_id, run_id)))

    def patch(self, request: Request, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> Response:
        """{"new_state": "success"|"failed"|"skipped"}; without a map index all instances of a mapped task."""
        state = valid(inputs.TaskChange, request.data)["new_state"]
        keys = task_actions.mark(acting(request), dag_id, run_id, task_id, map_index, state)
        marked = {key.map_index for key in keys}
        run = runs.get_run(dag_id, run_id)
        found = tasks.mapped_instances(run.id, task_id, after=NOT_MAPPED - 1, limit=task_actions.MOST_AT_ONCE).rows
        rows = [shapes.task_instance(row, run) for row in found if row.map_index in marked]
        return Response({"task_instances": rows, "total_entries": len(rows)})


class TaskInstances(View):
    def get(self, request: Request, dag_id: str, run_id: str) -> Response:
        """?state, limit, after."""
        query = valid(inputs.TaskInstancesQuery, request.query_params)
        run = runs.get_run(dag_id, run_id)
        after = query["after"].rpartition("|")
        if query["after"] and not after[2].lstrip("-").isdigit():
            raise InvalidInput(f"after={query['after']!r} is not the `next` of an answer.")
        page = task_instances(
            run.id,
            state=query["state"],
            after=(after[0], int(after[2])) if query["after"] else None,
            limit=query["limit"],
        )
        following = "|".join(map(str, page.next_key)) if page.next_key else None
        return Response({"task_instances": [shapes.task_instance(row, run) for row in page.rows], "next": following})


class Health(View):
    """Airflow's shape, without a login; 503 while the database does not answer."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        problem = reachable()
        beat = None
        if not problem:
            beat = max((loop.seen_at for loop in loops() if loop.name == "scheduler"), default=None)
        alive = beat is not None and (_clock.now() - beat).total_seconds() < _SCHEDULER_SILENCE_SECONDS
        return Response(
            {
                "metadatabase": {"status": "unhealthy" if problem else "healthy"},
                "scheduler": {"status": "healthy" if alive else "unhealthy", "latest_scheduler_heartbeat": beat},
            },
            status=503 if problem else 200,
        )


class Nowhere(View):
    """An address that the API does not have: JSON, too."""

    permission_classes = (AllowAny,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        from execplane.contract.errors import NotFound

        raise NotFound(f"The API has no address {request.path}.", hint="See docs for the addresses of API v1.")


def _text(key: Any) -> str | None:
    return None if key is None else str(key)
