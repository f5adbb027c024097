"""Metrics and report of a run."""
