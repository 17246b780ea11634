"""DAG files to DagVersions: find them, import them in child processes with limits, and keep what they define."""
