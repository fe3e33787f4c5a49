"""What corrections teach: how good the models are on this rock, and data to train better ones."""
