"""What the commands about a catalogue show."""
