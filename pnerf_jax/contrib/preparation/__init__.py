"""Pseudo depth, pseudo labels, and checks of a dataset before training."""
