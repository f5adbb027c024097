"""Programs around the method; they import the core, and the core never imports them."""
