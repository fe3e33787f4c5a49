"""Classes from crops: MicroCrystalNet."""
