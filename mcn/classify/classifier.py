"""A trained MicroCrystalNet, ready to name crystals, and the file it lives in."""

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
from mcn.classify.modeling.published import FORMAT as PUBLISHED
from mcn.classify.modeling.published import PublishedNetwork, load_network, published_weights
from mcn.crops import CropError
from mcn.crystals import CROP_SIZE, Classified
from mcn.errors import McnError
from mcn.taxonomy import Taxonomy, TaxonomyError

FORMAT = "mcn-classifier-2"
"""Key of the one entry in a weights file's metadata; more would be written in any order."""

_BATCH = 128
_CONFIDENCE = tuple(part.name for part in fields(ConfidenceModel))


class ClassifierError(McnError):
    """A classifier that is not there, or a file that does not hold one."""


class CropClassifier:
    """Names crystals.

    Parameters
    ----------
    network : MicroCrystalNet or PublishedNetwork
        Trained network; it is put into evaluation mode.
    name : str
        `name@first-12-of-sha256`, written into every row the classifier makes.
    temperature : float
        Logits are divided by it, so that probabilities mean what they say [1]_.
    confidence_model : ConfidenceModel, optional
        Makes the confidence; without it, that is the largest probability.

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
        """The shapes it knows."""
        return self.network.settings.taxonomy

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        """Shapes of crystals, and how sure they are.

        Parameters
        ----------
        crops : (N, 64, 64) uint8 array
            As `cut_crops` makes them.

        Returns
        -------
        Classified
            Each row depends on its own crop only.

        Raises
        ------
        CropError
            If the crops have another size or type.
        """
        features, logits = self.examine(crops)
        scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / self.temperature)
        probabilities = scaled / scaled.sum(axis=1, keepdims=True)
        if self.confidence_model is None:
            return Classified(probabilities, probabilities.max(axis=1, initial=0))
        return Classified(probabilities, self.confidence_model.confidence(probabilities, features))

    def examine(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (N, d) and logits (N, shapes) of crops (N, 64, 64); errors as `classify`."""
        if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE):
            raise CropError(
                f"crops are {crops.dtype} {crops.shape}, not uint8 (N, {CROP_SIZE}, "
                f"{CROP_SIZE}); make them with mcn.crops.cut_crops"
            )
        features, logits = [], []
        with torch.inference_mode():
            for start in range(0, max(len(crops), 1), _BATCH):
                batch = torch.tensor(crops[start : start + _BATCH], device=self.device)
                embedded = self.network.embed(batch[:, None].float())
                features.append(embedded.cpu().numpy())
                logits.append(self.network.read(embedded).cpu().numpy())
        return np.concatenate(features), np.concatenate(logits)


def load_classifier(model: str = "nsr") -> CropClassifier:
    """Load a classifier by the name of embedded weights, or from a file.

    Parameters
    ----------
    model : str
        "nsr"; "published", the authors' released network, fetched when first asked for; or the
        path of a `.safetensors` file that `mcn train classifier` or `mcn weights import` wrote.

    Raises
    ------
    ClassifierError
        If there is no such model, or the file is not a classifier of this project.
    PublishedError
        If the published weights cannot be had.
    """
    if model == "published":
        return _read(published_weights())
    embedded = resources.files("mcn") / "weights" / f"{model}.safetensors"
    is_path = model.endswith(".safetensors") or "/" in model
    if not is_path and not embedded.is_file():
        raise ClassifierError(
            f"no classifier is called {model!r}; use 'nsr', 'published' or the path of a "
            ".safetensors file"
        )
    if is_path and not Path(model).is_file():
        raise ClassifierError(f"{model}: no such file; train one with 'mcn train classifier'")
    place = nullcontext(Path(model)) if is_path else resources.as_file(embedded)
    with place as path:
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
        File to write; its stem becomes the model's name.
    network : MicroCrystalNet
        Trained network.
    temperature : float
        Calibrated temperature, kept in the file's metadata beside the network's sizes.
    confidence_model : ConfidenceModel, optional
        Kept beside the weights.
    notes : str
        How it was trained, kept in the metadata for whoever finds the file.
    """
    about = {"network": network.settings.as_dict(), "temperature": temperature, "notes": notes}
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    if confidence_model is not None:
        weights |= {
            f"trust.{part}": torch.from_numpy(getattr(confidence_model, part)).contiguous()
            for part in _CONFIDENCE
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(weights, {FORMAT: json.dumps(about)}))
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
    if FORMAT not in metadata and PUBLISHED not in metadata:
        raise ClassifierError(
            f"{path}: holds {', '.join(metadata) or 'something else'}, not {FORMAT}; "
            "name a file that 'mcn train classifier' wrote"
        )
    try:
        if PUBLISHED in metadata:
            return CropClassifier(load_network(metadata, weights), _name(path))
        about = json.loads(metadata[FORMAT])
        network = MicroCrystalNet(NetworkSettings.from_dict(about["network"]))
        parts = {
            key: weights.pop(f"trust.{key}") for key in _CONFIDENCE if f"trust.{key}" in weights
        }
        network.load_state_dict(weights)
        confidence_model = (
            ConfidenceModel(**{key: part.numpy() for key, part in parts.items()}) if parts else None
        )
        temperature = float(about["temperature"])
    except (TaxonomyError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ClassifierError(
            f"{path}: its weights do not fit the network ({reason}); train it again"
        ) from error
    return CropClassifier(network, _name(path), temperature, confidence_model)
