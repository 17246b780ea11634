"""How many tasks the DAG files of this folder have."""

STORM_TASKS = 100
CALM_TASKS = 20
