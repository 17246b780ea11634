"""Typed params: a form to trigger with, checked values, and defaults for scheduled runs."""

from datetime import datetime

from execplane import DAG, Param, task

with DAG(
    "typed_params",
    schedule=None,
    start_date=datetime(2024, 1, 1),
    tags=["example"],
    params={
        "count": Param(3, type="integer", minimum=1, maximum=10, description="How many lines"),
        "greeting": Param("hello", type="string", enum=["hello", "goodbye"]),
        "day": Param("2024-01-01", type="string", format="date"),
        "verbose": Param(False, type="boolean"),
        "note": Param(None, type=["null", "string"]),
    },
):

    @task
    def greet(params=None):
        for number in range(params["count"]):
            print(number, params["greeting"], params["day"])

    greet()
