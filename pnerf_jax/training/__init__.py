"""Losses, state, sharded step, loop, checkpoints, logs."""
