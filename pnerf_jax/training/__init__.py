"""Losses, train step, ray table and trainer."""
