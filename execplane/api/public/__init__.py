"""The public REST API v1: Airflow's shapes over our actions and queries, for CI webhooks, scripts and other tools."""
