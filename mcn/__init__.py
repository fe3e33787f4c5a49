"""Microcrystals read out of scanning electron micrographs of rock."""
