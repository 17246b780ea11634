"""The two APIs: the workers' (plain functions and msgspec) and the public one (REST framework)."""
