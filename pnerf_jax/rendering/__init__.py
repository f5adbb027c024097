"""Samples along rays and volume rendering."""
