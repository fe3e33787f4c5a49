"""The classifier's networks, and its calibrated confidence."""
