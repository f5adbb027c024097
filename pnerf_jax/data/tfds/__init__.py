"""A window as a TFDS dataset."""
