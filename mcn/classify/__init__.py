"""Classes from crops: MicroCrystalNet."""

from mcn.classify.classifier import ClassifierError, CropClassifier, load_classifier

__all__ = ["ClassifierError", "CropClassifier", "load_classifier"]
