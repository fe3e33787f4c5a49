"""Heat maps of what a classifier looks at."""
