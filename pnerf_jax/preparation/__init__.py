"""What the commands of `prepare` do before the first training."""
