"""Published cases, and the error against them."""
