"""Names the shape of crystals in crops: MicroCrystalNet.

The names below are imported when they are first used, because torch takes seconds to import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcn.classify.classifier import ClassifierError, CropClassifier, load_classifier

__all__ = ["ClassifierError", "CropClassifier", "load_classifier"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mcn.classify import classifier

    return getattr(classifier, name)
