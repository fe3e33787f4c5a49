"""Depth logs of a well: the table, its plot and its LAS file."""
