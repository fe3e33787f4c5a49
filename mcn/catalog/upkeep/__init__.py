"""Keeping a catalogue in order: verify, compact, vacuum, and recovery after lost scans."""
