"""Reading a catalogue: snapshots that are kept up to date, and the rows of their data files."""
