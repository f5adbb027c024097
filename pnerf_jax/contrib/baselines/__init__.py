"""Other methods of label transfer, for comparison."""
