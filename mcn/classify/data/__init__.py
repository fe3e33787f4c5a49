"""Crops with known shapes: reading, sampling, augmentation, outliers."""
