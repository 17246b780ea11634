"""Pods without a cluster: build one from layers with provenance, read one into a diagnosis.

Pure: no I/O, no `kubernetes` import, raw dicts in Kubernetes' own JSON spelling.
"""
