"""Metrics as mergeable sums and counts."""
