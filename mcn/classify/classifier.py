"""A trained classifier of crystals, and its weights file."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import fields
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mcn.classify.modeling.confidence import ConfidenceModel
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.classify.modeling.published import (
    PUBLISHED_FORMAT,
    PublishedNetwork,
    load_network,
    published_weights,
)
from mcn.crops import CropError
from mcn.crystals import CROP_SIZE, Classified
from mcn.errors import McnError
from mcn.taxonomy import Taxonomy, TaxonomyError

WEIGHTS_FORMAT = "mcn-classifier-2"
"""Key of the only entry in the metadata of a weights file.

The order of several entries would vary, and so would the file's hash and name.
"""

_BATCH, _GPU_BATCH = 128, 1024
"""Crops at once: what fits a processor's cache, and what keeps a GPU busy."""
_CONFIDENCE = tuple(part.name for part in fields(ConfidenceModel))


class ClassifierError(McnError):
    """A missing classifier, or a file that does not contain one."""


class CropClassifier:
    """Names the shape of crystals in crops.

    Parameters
    ----------
    network : MicroCrystalNet or PublishedNetwork
        Trained network; it is switched to evaluation mode.
    name : str
        `name@first-12-of-sha256`, written into every row of the classifier.
    temperature : float
        Logits are divided by it, which calibrates the probabilities [1]_.
    confidence_model : ConfidenceModel, optional
        Computes the confidence; without it, the confidence is the largest probability.

    References
    ----------
    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """

    network: MicroCrystalNet | PublishedNetwork

    def __init__(
        self,
        network: MicroCrystalNet | PublishedNetwork,
        name: str,
        temperature: float = 1.0,
        confidence_model: ConfidenceModel | None = None,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.eval().to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.temperature = temperature
        self.confidence_model = confidence_model

    @property
    def taxonomy(self) -> Taxonomy:
        """The shapes that the classifier distinguishes."""
        return self.network.settings.taxonomy

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        """Probabilities of the shapes of crystals, and confidences.

        Parameters
        ----------
        crops : (N, 64, 64) uint8 array
            As from `mcn.crops.cut_crops`.

        Returns
        -------
        Classified
            Each row depends only on its own crop.

        Raises
        ------
        CropError
            If the crops have another size or type.
        """
        features, logits = self.features_and_logits(crops)
        scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / self.temperature)
        probabilities = scaled / scaled.sum(axis=1, keepdims=True)
        if self.confidence_model is None:
            return Classified(probabilities, probabilities.max(axis=1, initial=0))
        return Classified(probabilities, self.confidence_model.confidence(probabilities, features))

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Positions (N, d) of crops (N, 64, 64) in which similar crystals are close together.

        The network's features, in standard deviations within a class if the classifier has a
        confidence model, which knows them.

        Raises
        ------
        CropError
            If the crops have another size or type.
        """
        features, _ = self.features_and_logits(crops)
        model = self.confidence_model
        return features if model is None else features @ model.whitening

    def features_and_logits(
        self, crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (N, d) and logits (N, shapes) of crops (N, 64, 64).

        Raises
        ------
        CropError
            If the crops have another size or type.
        """
        if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE):
            raise CropError(
                f"crops are {crops.dtype} {crops.shape}, not uint8 (N, {CROP_SIZE}, "
                f"{CROP_SIZE}); make them with mcn.crops.cut_crops"
            )
        features, logits = [], []
        batch_size = _GPU_BATCH if self.device.type == "cuda" else _BATCH
        with torch.inference_mode():
            for start in range(0, max(len(crops), 1), batch_size):
                batch = torch.tensor(crops[start : start + batch_size], device=self.device)
                batch_features = self.network.forward_features(batch[:, None].float())
                features.append(batch_features.cpu().numpy())
                logits.append(self.network.forward_head(batch_features).cpu().numpy())
        return np.concatenate(features), np.concatenate(logits)


def load_classifier(model: str = "nsr") -> CropClassifier:
    """Load an embedded classifier by name, or one from a file.

    Parameters
    ----------
    model : str
        "nsr"; "published", the authors' released network, which is downloaded on first use; or
        the path of a `.safetensors` file from `mcn train classifier` or `mcn weights import`.

    Raises
    ------
    ClassifierError
        If there is no such model, or the file is not a classifier.
    PublishedError
        If the published weights cannot be downloaded.
    """
    if model == "published":
        return _read(published_weights())
    embedded = resources.files("mcn") / "weights" / f"{model}.safetensors"
    is_path = model.endswith(".safetensors") or "/" in model
    if not is_path and not embedded.is_file():
        raise ClassifierError(
            f"unknown classifier {model!r}; use 'nsr', 'published' or the path of a "
            ".safetensors file"
        )
    if is_path and not Path(model).is_file():
        raise ClassifierError(f"{model}: no such file; train one with 'mcn train classifier'")
    weights_file = nullcontext(Path(model)) if is_path else resources.as_file(embedded)
    with weights_file as path:
        return _read(path)


def save_classifier(
    path: Path,
    network: MicroCrystalNet,
    temperature: float = 1.0,
    confidence_model: ConfidenceModel | None = None,
    notes: str = "",
) -> str:
    """Write a classifier as safetensors and return its name.

    Parameters
    ----------
    path : Path
        File to write; its stem becomes the name of the model.
    network : MicroCrystalNet
        Trained network.
    temperature : float
        Calibrated temperature, stored in the metadata with the sizes of the network.
    confidence_model : ConfidenceModel, optional
        Stored with the weights.
    notes : str
        How the classifier was trained, stored in the metadata.
    """
    metadata = {"network": network.settings.as_dict(), "temperature": temperature, "notes": notes}
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    if confidence_model is not None:
        weights |= {
            f"trust.{part}": torch.from_numpy(getattr(confidence_model, part)).contiguous()
            for part in _CONFIDENCE
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(weights, {WEIGHTS_FORMAT: json.dumps(metadata)}))
    return _name(path)


def _name(path: Path) -> str:
    return f"{path.stem}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _read(path: Path) -> CropClassifier:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ClassifierError(
            f"{path}: not a safetensors file ({error}); fetch or train it again"
        ) from error
    if WEIGHTS_FORMAT not in metadata and PUBLISHED_FORMAT not in metadata:
        raise ClassifierError(
            f"{path}: contains {', '.join(metadata) or 'other data'}, not {WEIGHTS_FORMAT}; "
            "use a file written by 'mcn train classifier'"
        )
    try:
        if PUBLISHED_FORMAT in metadata:
            return CropClassifier(load_network(metadata, weights), _name(path))
        description = json.loads(metadata[WEIGHTS_FORMAT])
        network = MicroCrystalNet(NetworkSettings.from_dict(description["network"]))
        parts = {
            key: weights.pop(f"trust.{key}") for key in _CONFIDENCE if f"trust.{key}" in weights
        }
        network.load_state_dict(weights)
        confidence_model = (
            ConfidenceModel(**{key: part.numpy() for key, part in parts.items()}) if parts else None
        )
        temperature = float(description["temperature"])
    except (TaxonomyError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ClassifierError(
            f"{path}: its weights do not fit the network ({reason}); train it again"
        ) from error
    return CropClassifier(network, _name(path), temperature, confidence_model)
