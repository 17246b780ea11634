"""The words and shapes that every room shares: pure values, and nothing of ours is imported here.

A process of another version may be on the other side of any of these shapes, so fields are only added, with
defaults, and never change their meaning.
"""
