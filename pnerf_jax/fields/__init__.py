"""Radiance, learned semantic and fixed semantic fields."""
