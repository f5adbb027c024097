"""The configuration: every field declared once, with its type, range, default and meaning."""
