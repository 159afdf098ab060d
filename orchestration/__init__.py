"""Prefect flows: ingest, tune, promote; the order of the steps."""
