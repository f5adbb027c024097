"""2D networks that name the pixels of a photo: our own and those of other projects."""
