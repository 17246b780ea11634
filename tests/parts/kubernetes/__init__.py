"""A real Kubernetes for the tests; `cluster.Cluster` is all that a test needs of it."""
