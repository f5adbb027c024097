"""Other ways to carry the annotation into the images, for comparison."""
