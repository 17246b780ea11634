"""The addresses under /api/v1/. Run ids may hold a slash, so they are paths, the longer addresses first."""

from __future__ import annotations

from django.urls import path, re_path

from execplane.api.public import attempts, holds, pending, views

app_name = "api"
RUN = "dags/<str:dag_id>/dagRuns/<path:run_id>"
urlpatterns = [
    path("health", views.Health.as_view(), name="health"),
    path("dags", views.Dags.as_view(), name="dags"),
    path("dags/refresh", views.Refresh.as_view(), {"dag_id": "refresh"}, name="refresh"),
    path("dags/<str:dag_id>", views.Dag.as_view(), name="dag"),
    path("dags/<str:dag_id>/clearTaskInstances", views.ClearTaskInstances.as_view(), name="clear"),
    path("dags/<str:dag_id>/dagRuns", views.DagRuns.as_view(), name="dag-runs"),
    path(
        f"{RUN}/taskInstances/<str:task_id>/<int:map_index>/dependencies",
        pending.Dependencies.as_view(),
        name="mapped-dependencies",
    ),
    path(f"{RUN}/taskInstances/<str:task_id>/dependencies", pending.Dependencies.as_view(), name="dependencies"),
    path(f"{RUN}/taskInstances/<str:task_id>/<int:map_index>", views.TaskInstance.as_view(), name="mapped-instance"),
    path(f"{RUN}/taskInstances/<str:task_id>", views.TaskInstance.as_view(), name="task-instance"),
    path(f"{RUN}/taskInstances", views.TaskInstances.as_view(), name="task-instances"),
    path(RUN, views.DagRun.as_view(), name="dag-run"),
    path("attempts/<int:attempt_id>/flightRecord", attempts.FlightRecord.as_view(), name="flight-record"),
    path("attempts/<int:attempt_id>/release", attempts.Release.as_view(), name="release"),
    path("launchHolds", holds.LaunchHolds.as_view(), name="launch-holds"),
    path("launchHolds/<int:hold_id>/release", holds.ReleaseHold.as_view(), name="launch-hold-release"),
    path("launchWaves", holds.LaunchWaves.as_view(), name="launch-waves"),
    path("launchWaves/<str:executor>/launchAll", holds.LaunchAll.as_view(), name="launch-all"),
    re_path("", views.Nowhere.as_view()),
]
