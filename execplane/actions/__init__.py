"""Every verb that changes something: actor -> permission -> validate -> audit -> transition -> wake.

Page, API, admin and CLI differ only in how they read input and show the result.
"""
