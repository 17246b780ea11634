"""Addresses of the pages: one for everything there is, so that anything can be linked to."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from execplane.web.errors import shown
from execplane.web.views import (
    attempts,
    changes,
    dag,
    dags,
    deadlines,
    drift,
    holds,
    latency,
    login,
    pending,
    runs,
    secrets,
    system,
)


def home(request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("dags"))


DAG = "dags/<str:dag_id>"
RUN = f"{DAG}/runs/<str:run_id>"
TASK = f"{RUN}/tasks/<str:task_id>"
ATTEMPT = "attempts/<int:attempt_id>"


def page(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    """An address whose view may raise our errors."""
    return path(route, shown(view), name=name)


urlpatterns: list[URLPattern] = [
    page("", home, "home"),
    path("login", login.Login.as_view(), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("favicon.ico", login_not_required(system.favicon), name="favicon"),
    page("dags", dags.dag_list, "dags"),
    page("dags/refresh", dags.refresh, "dags-refresh"),
    page(DAG, dag.grid, "dag"),
    page(f"{DAG}/graph", dag.graph, "dag-graph"),
    page(f"{DAG}/runs", dag.run_list, "dag-runs"),
    page(f"{DAG}/code", dag.code, "dag-code"),
    page(f"{DAG}/details", dag.details, "dag-details"),
    page(f"{DAG}/trigger", changes.trigger, "dag-trigger"),
    page(f"{DAG}/pause", dags.pause, "dag-pause"),
    page(RUN, runs.run, "run"),
    page(f"{RUN}/graph", runs.graph, "run-graph"),
    page(f"{RUN}/details", runs.details, "run-details"),
    page(f"{RUN}/clear", changes.clear_run, "run-clear"),
    page(f"{RUN}/mark/<str:state>", changes.mark_run, "run-mark"),
    page(f"{RUN}/stop", changes.stop_run, "run-stop"),
    page(TASK, attempts.task, "task"),
    page(f"{TASK}/attempts", attempts.task_attempts, "task-attempts"),
    page(f"{TASK}/why", pending.task, "task-why"),
    page(f"{TASK}/clear", changes.clear_task, "task-clear"),
    page(f"{TASK}/mark/<str:state>", changes.mark_task, "task-mark"),
    page(f"{TASK}/<int:map_index>", attempts.task, "mapped-task"),
    page(f"{TASK}/<int:map_index>/attempts", attempts.task_attempts, "mapped-task-attempts"),
    page(f"{TASK}/<int:map_index>/why", pending.task, "mapped-task-why"),
    page(f"{TASK}/<int:map_index>/clear", changes.clear_task, "mapped-task-clear"),
    page(f"{TASK}/<int:map_index>/mark/<str:state>", changes.mark_task, "mapped-task-mark"),
    page("runs", runs.run_list, "runs"),
    page(ATTEMPT, attempts.log, "attempt"),
    page(f"{ATTEMPT}/log.json", attempts.log_json, "attempt-log-json"),
    page(f"{ATTEMPT}/log.txt", attempts.log_text, "attempt-log-text"),
    page(f"{ATTEMPT}/timeline", attempts.timeline, "attempt-timeline"),
    page(f"{ATTEMPT}/pod", attempts.pod, "attempt-pod"),
    page(f"{ATTEMPT}/pod.yaml", attempts.pod_yaml, "attempt-pod-yaml"),
    page(f"{ATTEMPT}/flight.json", attempts.flight_json, "attempt-flight-json"),
    page(f"{ATTEMPT}/rendered", attempts.rendered, "attempt-rendered"),
    page(f"{ATTEMPT}/xcoms", attempts.xcoms, "attempt-xcoms"),
    page(f"{ATTEMPT}/xcoms/value", attempts.xcom_value, "attempt-xcom-value"),
    page(f"{ATTEMPT}/cancel", changes.cancel, "attempt-cancel"),
    page(f"{ATTEMPT}/release", changes.release, "attempt-release"),
    page(f"{ATTEMPT}/why", pending.attempt, "attempt-why"),
    page("pods", system.pods, "pods"),
    page("drift", drift.findings, "drift"),
    page("drift/look", drift.look, "drift-look"),
    page("drift/release/<str:executor>", drift.release, "drift-release"),
    page("drift/<int:finding_id>/<str:decision>", drift.decide, "drift-decide"),
    page("holds", holds.holds, "holds"),
    page("holds/new", holds.new, "hold-new"),
    page("holds/waves/<str:executor>/launch-all", holds.launch_all, "launch-all"),
    page("holds/<int:hold_id>/release", holds.release, "hold-release"),
    page("latency", latency.latency, "latency"),
    page("pools", system.pools, "pools"),
    page("import-errors", system.import_errors, "import-errors"),
    page("loops", system.loops, "loops"),
    page("deadlines/<str:executor>/confirm", deadlines.confirm, "deadlines-confirm"),
    page("audit", system.audit_log, "audit"),
    page("variables", secrets.variables, "variables"),
    page("variables/set", secrets.set_variable, "variable-set"),
    page("variables/delete", secrets.delete_variable, "variable-delete"),
    page("connections", secrets.connections, "connections"),
    page("connections/set", secrets.set_connection, "connection-set"),
    page("connections/delete", secrets.delete_connection, "connection-delete"),
]
