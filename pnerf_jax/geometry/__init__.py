"""Rigid motions, cameras, primitives and their ray intervals."""
