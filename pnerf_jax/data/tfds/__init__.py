"""A window packed as a TFDS dataset."""
