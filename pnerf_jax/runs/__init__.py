"""The RUN folder: config, checkpoints, lock, logs, and loading a trained run."""
