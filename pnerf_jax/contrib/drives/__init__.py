"""Whole drives: split into windows, run, and merged."""
