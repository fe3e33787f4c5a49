"""Labelled crops: reading, sampling, augmentation, outliers."""
