"""Crystals as persons corrected them: the table `corrections`, and views over it."""
