"""Readers of datasets, and one window of a sequence."""
