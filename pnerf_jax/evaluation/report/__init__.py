"""Panels, plots, tables and the HTML report."""
