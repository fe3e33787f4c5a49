"""Maintenance of a catalogue: verify, compact, vacuum, and recovery after lost scans."""
