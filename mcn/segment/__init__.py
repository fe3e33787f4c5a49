"""Masks from an image: Segment Anything, compact and full size."""
