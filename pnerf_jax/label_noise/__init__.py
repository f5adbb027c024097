"""Models of the errors of 2D pseudo labels and stereo depth."""
