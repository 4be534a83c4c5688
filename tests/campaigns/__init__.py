"""Random and hostile cases by the hundred thousand, whose answers come from elsewhere."""
