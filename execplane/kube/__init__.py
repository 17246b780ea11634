"""The API server: client, resumable watch, logs, reviews, errors. The only importer of `kubernetes`."""
