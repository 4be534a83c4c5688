"""The plugins that come with geom, each through the public hooks alone."""
