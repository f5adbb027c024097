"""Processes, devices, sharding and threads."""
