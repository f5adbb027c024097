"""Cameras, rays, primitives and their intersection."""
