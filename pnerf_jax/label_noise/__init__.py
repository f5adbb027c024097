"""Noise models of the supervision: 2D pseudo-labels and stereo depth."""
