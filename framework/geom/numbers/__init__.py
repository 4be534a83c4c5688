"""Numbers that claim no more than is proven: rounding bounds, rationals, enclosures, printing."""
