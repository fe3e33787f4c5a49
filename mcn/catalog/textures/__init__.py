"""Microtextures of intervals by published schemes, as rules over measured quantities."""
