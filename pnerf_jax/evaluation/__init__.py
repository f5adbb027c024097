"""Metrics against ground truth files, and the report."""
