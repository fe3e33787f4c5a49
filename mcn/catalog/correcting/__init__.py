"""What a person corrects in a catalogue: naming, changing, and learning from it."""
