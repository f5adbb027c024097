"""Converters from other datasets."""
