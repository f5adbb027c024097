"""Metrics as mergeable counts."""
