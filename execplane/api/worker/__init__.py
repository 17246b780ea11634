"""The worker API: small, fast, versioned; beside Django's middleware, on threads with database connections of
their own."""
