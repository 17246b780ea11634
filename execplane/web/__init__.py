"""Pages, live updates and the admin: they read through `store.queries`, change through `actions`."""
