"""TaskFlow: functions as tasks, results as arguments, and several outputs of one task."""

from datetime import datetime

from execplane import dag, task


@dag(schedule="@daily", start_date=datetime(2024, 1, 1), catchup=False, tags=["example", "taskflow"])
def taskflow_etl():
    """Extract, transform, load, each a function."""

    @task
    def extract() -> list:
        return [{"id": 1, "amount": 30}, {"id": 2, "amount": 12}]

    @task(multiple_outputs=True)
    def transform(orders: list):
        amounts = [order["amount"] for order in orders]
        return {"total": sum(amounts), "count": len(amounts)}

    @task
    def load(total: int, count: int, ds: str):
        print(f"{ds}: {count} orders, {total} in all")

    summary = transform(extract())
    load(summary["total"], summary["count"])


taskflow_etl()
