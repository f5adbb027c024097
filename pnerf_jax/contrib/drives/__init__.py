"""Sequence windows: split whole sequences, train the windows, merge their labels."""
