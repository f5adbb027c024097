"""Samples along rays, volume rendering, whole images."""
