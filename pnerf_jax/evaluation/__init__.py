"""Metrics and report."""
