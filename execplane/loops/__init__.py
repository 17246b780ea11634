"""How background work is kept running: wakes, leases, the supervisor."""
