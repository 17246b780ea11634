"""The read side: filters, keyset paging, capped counts. Frozen rows come out; models stay inside.

Every list names the index it walks and has a limit; tests EXPLAIN each of them.
"""
