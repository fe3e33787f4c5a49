"""The network of the weights that the MicroCrystalNet authors released.

It is a plain CNN: three convolutions with pooling and two dense layers, without the block that
their paper [1]_ describes. Their weights are a Keras HDF5 file, which is read here without
Keras and stored as safetensors.

References
----------
.. [1] Yaqoob et al., "MicroCrystalNet: An Efficient and Explainable Convolutional Neural
   Network for Microcrystal Classification Using Scanning Electron Microscope
   Petrography", IEEE Access, 2025, doi:10.1109/ACCESS.2025.3552626.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from mcn.errors import McnError
from mcn.io.download import DownloadError, cache, download
from mcn.taxonomy import CALCITE, SHAPES, Taxonomy

PUBLISHED_FORMAT = "mcn-published-1"
"""Key of the only entry in a weights file's metadata; the order of several would vary."""

CLASS_ORDER = ("amorphous", "polyhedral", "rhombic", "spherical")
"""Shapes of the network's outputs: class folders by sorted name, as Keras numbers them."""

RELEASED_ORDER = ("polyhedral", "amorphous", "rhombic", "spherical")
"""Names of the same outputs in the authors' script and released plots."""

REPOSITORY = (
    "YaqoobAnsari/MicroCrystalNet-Advanced-Microcrystal-Classification-"
    "Using-Normalized-Sparse-Reduction-Blocks"
)
COMMIT = "a5db6d961e154111deec73ab0c2fb1c62c83fa74"
KERAS_FILE = "CNN_2023-11-19_11-47-51_run1_weights.h5"
KERAS_SHA256 = "ffac444a493c8a1c6973500810c7d7d96c6950472be1bf34418aad47274ef503"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/{KERAS_FILE}"

_MAX_BYTES = 64 * 2**20  # a Keras file with the optimiser's state has three times the weights
_PARAMETERS = (  # of `PublishedNetwork`, with the shapes that Keras gives them
    ("features.0.weight", (3, 3, 1, 64)),
    ("features.0.bias", (64,)),
    ("features.3.weight", (3, 3, 64, 32)),
    ("features.3.bias", (32,)),
    ("features.6.weight", (3, 3, 32, 16)),
    ("features.6.bias", (16,)),
    ("hidden.weight", (1024, 256)),
    ("hidden.bias", (256,)),
    ("head.weight", (256, 4)),
    ("head.bias", (4,)),
)
_CONVOLUTION = ("Conv2D", {"padding": "same", "activation": "relu", "strides": [1, 1]})
_POOLING = ("MaxPooling2D", {"padding": "valid", "pool_size": [2, 2], "strides": [2, 2]})
_ARCHITECTURE: list[tuple[str, dict[str, Any]]] = [
    ("InputLayer", {}),
    *[_CONVOLUTION, _POOLING] * 3,
    ("Flatten", {"data_format": "channels_last"}),
    ("Dense", {"activation": "relu"}),
    ("Dense", {"activation": "softmax"}),
]


class PublishedError(McnError):
    """Published weights that cannot be downloaded, or a file that does not contain them."""


@dataclass(frozen=True)
class PublishedSettings:
    """Settings that the weights alone do not define.

    Parameters
    ----------
    class_order : tuple of 4 str
        Shapes of the outputs, in the order the network was trained with.
    source_sha256 : str
        Of the HDF5 file that the weights come from.
    """

    class_order: tuple[str, ...] = CLASS_ORDER
    source_sha256: str = KERAS_SHA256

    @property
    def taxonomy(self) -> Taxonomy:
        """The shapes of the network's logits, in order."""
        return CALCITE

    def to_json(self) -> str:
        """The settings as a line of JSON, to store with the weights."""
        return json.dumps(
            {"class_order": self.class_order, "source_sha256": self.source_sha256}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> PublishedSettings:
        """The settings of `to_json`; KeyError, TypeError or ValueError if they are invalid."""
        settings = json.loads(text)
        order = tuple(map(str, settings["class_order"]))
        if sorted(order) != sorted(SHAPES):
            raise ValueError(f"class order {order}; name each of {', '.join(SHAPES)} once")
        return cls(order, str(settings["source_sha256"]))


class PublishedNetwork(nn.Module):
    """The released network, from 64×64 grey crops of crystals to one logit per shape.

    Three 3×3 convolutions of 64, 32 and 16 feature maps, each padded, rectified and pooled
    2×2, then dense layers of 256 and 4: 287,156 parameters. The weights stay in the order of
    the classes that they were trained with; the logits are in the order of `SHAPES`.

    Parameters
    ----------
    settings : PublishedSettings
        The shape of each output.
    """

    settings: PublishedSettings

    def __init__(self, settings: PublishedSettings = PublishedSettings()) -> None:
        super().__init__()
        self.settings = settings
        self.columns = [settings.class_order.index(shape) for shape in SHAPES]
        layers: list[nn.Module] = []
        for channels, maps in ((1, 64), (64, 32), (32, 16)):
            layers += [nn.Conv2d(channels, maps, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(8 * 8 * 16, 256)
        self.head = nn.Linear(256, len(SHAPES))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, 4) logits in the order of `SHAPES`."""
        return self.forward_head(self.forward_features(crops))

    def forward_features(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, 256) features."""
        maps: Tensor = self.features(crops / 255)
        # Keras flattens row by row, all feature maps of a position together.
        return torch.relu(self.hidden(maps.permute(0, 2, 3, 1).flatten(1)))

    def forward_head(self, features: Tensor) -> Tensor:
        """(N, 256) features to (N, 4) logits in the order of `SHAPES`."""
        logits: Tensor = self.head(features)
        return logits[:, self.columns]


def published_weights() -> Path:
    """The converted weights; downloaded and converted on first use.

    Raises
    ------
    PublishedError
        If they cannot be downloaded.
    """
    return cached_weights() or import_weights(fetch_keras())


def cached_weights() -> Path | None:
    """The converted weights in the cache; None if there are none yet."""
    path = cache() / "published.safetensors"
    return path if path.is_file() else None


def fetch_keras(*, progress: bool = False) -> Path:
    """The authors' HDF5 file, downloaded once from their repository and checked by sha256.

    Raises
    ------
    PublishedError
        If it cannot be downloaded or is not what they published.
    """
    try:
        return download(URL, KERAS_SHA256, KERAS_FILE, progress=progress)
    except DownloadError as error:
        raise PublishedError(
            f"published: {error}; download it manually and run 'mcn weights import {KERAS_FILE}'"
        ) from error


def import_weights(
    keras: Path, out: Path | None = None, class_order: Sequence[str] = CLASS_ORDER
) -> Path:
    """Convert a Keras HDF5 file of the published architecture to safetensors.

    Parameters
    ----------
    keras : Path
        The authors' file, or one that their training script wrote: weights or whole model.
    out : Path, optional
        File to write; by default the one that the classifier `published` is read from.
    class_order : sequence of 4 str
        Shapes of the network's outputs, first to last.

    Returns
    -------
    Path
        The file written. The same input gives the same bytes.

    Raises
    ------
    PublishedError
        If the file is missing, broken or of another network, or the order is not one of
        the four shapes.
    """
    if sorted(class_order) != sorted(SHAPES):
        raise PublishedError(
            f"class order {','.join(class_order)}: name each of {', '.join(SHAPES)} once"
        )
    if out is None:
        out = cache() / "published.safetensors"
    if out.suffix != ".safetensors":
        raise PublishedError(f"{out}: weights are written as .safetensors; use a name ending in it")
    arrays = read_keras(keras)
    digest = hashlib.sha256(keras.read_bytes()).hexdigest()
    settings = PublishedSettings(tuple(class_order), digest)
    weights = {name: _torch_layout(array) for name, array in arrays.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(save(weights, {PUBLISHED_FORMAT: settings.to_json()}))
    return part.replace(out)


def read_keras(path: Path) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of the published architecture, in the layout of Keras.

    Parameters
    ----------
    path : Path
        HDF5 file, of weights or of a whole model.

    Returns
    -------
    dict of str to float32 array
        By their names in `PublishedNetwork`, with the shapes that Keras gives them: kernels
        (height, width, in, out) and (in, out).

    Raises
    ------
    PublishedError
        If the file is missing, is not HDF5 or contains another network.
    """
    import h5py

    if not path.is_file():
        raise PublishedError(f"{path}: no such file; give the authors' {KERAS_FILE}")
    if path.stat().st_size > _MAX_BYTES:
        raise _wrong_network(path, f"it is larger than {_MAX_BYTES >> 20} MB")
    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs:
                _check_architecture(path, json.loads(file.attrs["model_config"]))
            datasets = list(_datasets(file.get("model_weights", file)))
            shapes = [dataset.shape for dataset in datasets]
            if shapes != [shape for _, shape in _PARAMETERS]:
                raise _wrong_network(
                    path, f"its arrays are {', '.join(map(str, shapes)) or 'none'}"
                )
            if any(_is_external(dataset, file) for dataset in datasets):
                raise _wrong_network(path, "it refers to another file")
            arrays = [np.asarray(dataset[()], dtype=np.float32) for dataset in datasets]
    # A broken file fails in h5py in many ways, and files not written by Keras lack its attributes.
    except (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PublishedError(
            f"{path}: cannot be read as Keras weights in HDF5 ({reason}); "
            f"give the authors' {KERAS_FILE}"
        ) from error
    if not all(np.isfinite(array).all() for array in arrays):
        raise _wrong_network(path, "some of its numbers are not finite")
    return {name: array for (name, _), array in zip(_PARAMETERS, arrays, strict=True)}


def load_network(metadata: Mapping[str, str], weights: Mapping[str, Tensor]) -> PublishedNetwork:
    """The network of a file that `import_weights` wrote.

    Parameters
    ----------
    metadata : mapping of str to str
        Of the safetensors file; has the key `PUBLISHED_FORMAT`.
    weights : mapping of str to tensor
        Its tensors.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        If they do not fit.
    """
    network = PublishedNetwork(PublishedSettings.from_json(metadata[PUBLISHED_FORMAT]))
    network.load_state_dict(weights)
    return network


def _datasets(group: Any) -> Iterator[Any]:
    """A model's arrays in the order of its layers, as Keras's attributes name them."""
    for layer in group.attrs["layer_names"]:
        for weight in group[layer].attrs["weight_names"]:
            yield group[layer][weight]


def _is_external(dataset: Any, file: Any) -> bool:
    """Whether the numbers are stored in another file, which could be any on this machine."""
    return bool(dataset.is_virtual or dataset.external or dataset.file.filename != file.filename)


def _check_architecture(path: Path, config: Any) -> None:
    layers = [(layer["class_name"], layer["config"]) for layer in config["config"]["layers"]]
    if [kind for kind, _ in layers] != [kind for kind, _ in _ARCHITECTURE]:
        raise _wrong_network(path, f"its layers are {', '.join(kind for kind, _ in layers)}")
    for (kind, settings), (_, expected) in zip(layers, _ARCHITECTURE, strict=True):
        for key, value in expected.items():
            if settings[key] != value:
                raise _wrong_network(path, f"{kind} has {key} {settings[key]}, not {value}")


def _torch_layout(array: NDArray[np.float32]) -> Tensor:
    """(height, width, in, out) → (out, in, height, width), (in, out) → (out, in)."""
    axes = (3, 2, 0, 1) if array.ndim == 4 else None
    return torch.from_numpy(np.ascontiguousarray(array.transpose(axes)))


def _wrong_network(path: Path, reason: str) -> PublishedError:
    return PublishedError(
        f"{path}: contains a network other than the published one ({reason}); "
        f"give the authors' {KERAS_FILE}, or a file written by their training script"
    )
