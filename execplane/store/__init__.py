"""The ledger: Django models, queries that give frozen rows, and transitions, the only writer of states.

Models never leave this room; the admin is the one exception.
"""
