"""Random and hostile cases by the hundred thousand, with answers from outside geom."""
