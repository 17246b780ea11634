"""Snapshots of DAG folders: what is in one, its digest, and how its files get to where tasks run."""
