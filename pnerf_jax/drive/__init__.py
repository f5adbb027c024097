"""A whole drive: cut in windows, every window run on its own, their labels joined again."""
