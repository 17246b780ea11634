"""Every trigger rule, after one task that succeeds, one that fails and one that is skipped."""

from datetime import datetime

from execplane import DAG, TriggerRule
from execplane.sdk.operators import BashOperator, EmptyOperator

with DAG("trigger_rules", schedule=None, start_date=datetime(2024, 1, 1), tags=["example"]):
    ends = [
        BashOperator(task_id="succeeds", bash_command="true"),
        BashOperator(task_id="fails", bash_command="false"),
        BashOperator(task_id="skips", bash_command="exit 99"),
    ]
    for rule in TriggerRule:
        if rule != TriggerRule.ALL_DONE_SETUP_SUCCESS:
            ends >> EmptyOperator(task_id=f"on_{rule}", trigger_rule=rule)
