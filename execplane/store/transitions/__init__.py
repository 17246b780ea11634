"""The only writer of states: compare-and-set along `contract.states`, one event each, one wake on commit.

A lost race is not an error: the functions say what moved.
"""
