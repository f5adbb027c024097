"""Other methods of 3D-to-2D label transfer, for comparison."""
