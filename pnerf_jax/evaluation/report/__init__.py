"""Panels, plots and the HTML report."""
