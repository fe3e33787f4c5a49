"""Listing tiles: folders, manifests, S3 Inventory reports, and sidecar files."""
