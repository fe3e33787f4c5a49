"""Figures of a catalogue: sizes, shapes, and the crystals themselves."""
