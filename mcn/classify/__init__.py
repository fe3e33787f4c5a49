"""Classes from crops: MicroCrystalNet."""

from mcn.classify.classifier import Classifier, ClassifierError, load_classifier

__all__ = ["Classifier", "ClassifierError", "load_classifier"]
