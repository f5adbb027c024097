"""Every method on the same images, scored by the same evaluation, side by side."""
