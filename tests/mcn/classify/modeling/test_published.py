"""The authors' network, converted, gives the same results as their arrays."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from mcn.classify import load_classifier
from mcn.classify.classifier import ClassifierError
from mcn.classify.modeling.published import (
    CLASS_ORDER,
    KERAS_FILE,
    KERAS_SHA256,
    RELEASED_ORDER,
    URL,
    PublishedError,
    PublishedNetwork,
    cached_weights,
    import_weights,
    published_weights,
    read_keras,
)
from mcn.cli.main import app
from mcn.taxonomy import CALCITE, SHAPES

RELEASED = (
    Path(__file__).resolve().parents[4] / "../shared/data/published-mcn" / KERAS_FILE
).resolve()
needs_released = pytest.mark.skipif(
    not RELEASED.is_file(), reason="../shared, with the authors' weights, is absent"
)

SHAPES_OF_ARRAYS = [
    ("conv2d", (3, 3, 1, 64)),
    ("conv2d_1", (3, 3, 64, 32)),
    ("conv2d_2", (3, 3, 32, 16)),
    ("dense", (1024, 256)),
    ("dense_1", (256, 4)),
]


def write_keras(path: Path, seed: int = 0, root: str = "/") -> Path:
    """Write a file with random weights in the layout of Keras 2."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        group = file.require_group(root)
        group.attrs["layer_names"] = [b"input_1", *[name.encode() for name, _ in SHAPES_OF_ARRAYS]]
        group.create_group("input_1").attrs["weight_names"] = np.zeros(0)
        for name, shape in SHAPES_OF_ARRAYS:
            layer = group.create_group(name)
            weights = [f"{name}/kernel:0", f"{name}/bias:0"]
            layer.attrs["weight_names"] = [weight.encode() for weight in weights]
            scale = 1 / np.sqrt(np.prod(shape[:-1]))
            layer[weights[0]] = rng.normal(0, scale, shape).astype(np.float32)
            layer[weights[1]] = rng.normal(0, 0.1, shape[-1]).astype(np.float32)
    return path


def keras_forward(path: Path, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Output of Keras, computed in numpy by its definitions from its arrays."""
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        arrays = [
            group[layer][weight][()].astype(np.float64)
            for layer in group.attrs["layer_names"]
            for weight in group[layer].attrs["weight_names"]
        ]
    maps = crops[..., None] / 255.0
    for kernel, bias in zip(arrays[0:6:2], arrays[1:6:2], strict=True):
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        maps = np.maximum(np.einsum("nyxcij,ijco->nyxo", windows, kernel, optimize=True) + bias, 0)
        n, height, width, channels = maps.shape
        maps = maps.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    hidden = np.maximum(maps.reshape(len(maps), -1) @ arrays[6] + arrays[7], 0)
    logits = hidden @ arrays[8] + arrays[9]
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


@pytest.fixture
def keras(tmp_path: Path) -> Path:
    return write_keras(tmp_path / "weights.h5")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr("mcn.io.download.pooch.os_cache", lambda _: folder)
    return folder


def random_crops(n: int = 8) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    crops = rng.integers(0, 256, (n, 64, 64), dtype=np.uint8)
    crops[: n // 2, :20] = 0
    return crops


@needs_released
def test_the_released_weights_match_their_arrays(tmp_path: Path) -> None:
    path = import_weights(RELEASED, tmp_path / "published.safetensors")
    crops = random_crops(24)
    crops[0], crops[1] = 0, 255
    converted = load_classifier(str(path)).classify(crops).probabilities
    reference = keras_forward(RELEASED, crops)
    for column, shape in enumerate(CLASS_ORDER):
        assert np.abs(converted[:, SHAPES.index(shape)] - reference[:, column]).max() < 1e-5


@needs_released
def test_the_released_file_has_the_expected_checksum() -> None:
    assert hashlib.sha256(RELEASED.read_bytes()).hexdigest() == KERAS_SHA256
    assert URL.endswith(RELEASED.name)


@pytest.mark.parametrize("order", [CLASS_ORDER, RELEASED_ORDER])
@pytest.mark.parametrize("root", ["/", "model_weights"])
def test_outputs_are_reordered(tmp_path: Path, root: str, order: tuple[str, ...]) -> None:
    keras = write_keras(tmp_path / "keras.h5", root=root)
    path = import_weights(keras, tmp_path / "own.safetensors", order)
    classifier = load_classifier(str(path))
    reordered, original = (
        classifier.classify(random_crops()).probabilities,
        keras_forward(keras, random_crops()),
    )
    assert classifier.taxonomy == CALCITE
    for column, shape in enumerate(order):
        assert reordered[:, SHAPES.index(shape)] == pytest.approx(original[:, column], abs=1e-5)


def test_the_architecture_is_the_published_one() -> None:
    network = PublishedNetwork()
    assert sum(p.numel() for p in network.parameters()) == 287_156
    assert network.forward_features(torch.zeros(2, 1, 64, 64)).shape == (2, 256)


def test_a_file_has_one_model_name(keras: Path, cache: Path, tmp_path: Path) -> None:
    cached = import_weights(keras)
    again = import_weights(keras, tmp_path / "again.safetensors")
    assert cached == cache / "published.safetensors" == cached_weights() == published_weights()
    assert cached.read_bytes() == again.read_bytes()
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()[:12]
    assert load_classifier("published").name == f"published@{digest}"
    assert load_classifier(str(again)).name == f"again@{digest}"
    other = import_weights(keras, tmp_path / "other.safetensors", RELEASED_ORDER)
    assert other.read_bytes() != again.read_bytes()
    assert list(cache.iterdir()) == [cached]


def test_the_order_of_classes_is_kept_in_the_file(keras: Path, tmp_path: Path) -> None:
    path = import_weights(keras, tmp_path / "own.safetensors", RELEASED_ORDER)
    network = load_classifier(str(path)).network
    assert isinstance(network, PublishedNetwork)
    assert network.settings.class_order == RELEASED_ORDER
    assert network.settings.source_sha256 == hashlib.sha256(keras.read_bytes()).hexdigest()


def test_an_unreachable_repository_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcn.classify.modeling.published.URL", "http://127.0.0.1:9/weights.h5")
    with pytest.raises(PublishedError, match=r"cannot be fetched from .* run 'mcn weights import"):
        load_classifier("published")


@pytest.mark.parametrize("order", [("amorphous",), (*CLASS_ORDER[:3], "cubic"), CLASS_ORDER[:3]])
def test_an_order_names_every_shape_once(keras: Path, order: tuple[str, ...]) -> None:
    with pytest.raises(PublishedError, match="name each of rhombic"):
        import_weights(keras, keras.with_suffix(".safetensors"), order)


def replaced(name: str, array: NDArray[np.float32]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = array

    return change


def linked(file: h5py.File) -> None:
    other = write_keras(Path(file.filename).with_name("other.h5"))
    del file["dense_1/dense_1/bias:0"]
    file["dense_1/dense_1/bias:0"] = h5py.ExternalLink(str(other), "dense_1/dense_1/bias:0")


def described(**settings: str) -> Callable[[h5py.File], None]:
    """A Keras model with the given settings of its convolutions."""
    convolution = {"padding": "same", "activation": "relu", "strides": [1, 1], **settings}
    pooling = {"padding": "valid", "pool_size": [2, 2], "strides": [2, 2]}
    layers = [
        ("InputLayer", {}),
        *[("Conv2D", convolution), ("MaxPooling2D", pooling)] * 3,
        ("Flatten", {"data_format": "channels_last"}),
        ("Dense", {"activation": "relu"}),
        ("Dense", {"activation": "softmax"}),
    ]
    config = {"config": {"layers": [{"class_name": k, "config": c} for k, c in layers]}}

    def change(file: h5py.File) -> None:
        file.attrs["model_config"] = json.dumps(config)

    return change


def test_a_full_model_of_the_architecture_is_accepted(keras: Path, tmp_path: Path) -> None:
    with h5py.File(keras, "r+") as file:
        described()(file)
    assert import_weights(keras, tmp_path / "whole.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replaced("dense/dense/kernel:0", np.zeros((576, 256), np.float32)), "its arrays are"),
        (replaced("dense/dense/bias:0", np.full(256, np.nan, np.float32)), "not finite"),
        (replaced("dense/dense/bias:0", np.array([b"x"] * 256)), "cannot be read"),
        (linked, "refers to another file"),
        (lambda file: file.attrs.pop("layer_names"), "cannot be read"),
        (lambda file: file.pop("dense_1"), "cannot be read"),
        (lambda file: file.attrs.create("layer_names", [b"dense"]), "its arrays are"),
        (described(padding="valid"), "Conv2D has padding valid, not same"),
        (described(activation="tanh"), "Conv2D has activation tanh, not relu"),
    ],
)
def test_other_networks_are_refused(
    keras: Path, change: Callable[[h5py.File], None], reason: str
) -> None:
    with h5py.File(keras, "r+") as file:
        change(file)
    with pytest.raises(PublishedError, match=reason) as refused:
        read_keras(keras)
    assert str(keras) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_file_types_are_refused(tmp_path: Path, keras: Path) -> None:
    with pytest.raises(PublishedError, match="no such file"):
        read_keras(tmp_path / "gone.h5")
    text = tmp_path / "text.h5"
    text.write_text("not weights")
    with pytest.raises(PublishedError, match="cannot be read"):
        read_keras(text)
    complete = keras.read_bytes()
    for length in (0, 100, len(complete) // 2, len(complete) - 5000):
        text.write_bytes(complete[:length])
        with pytest.raises(PublishedError, match="cannot be read"):
            read_keras(text)
    with text.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(PublishedError, match="larger than 64 MB"):
        read_keras(text)


def test_an_unknown_file_is_not_a_published_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "odd.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"mcn-published-1": '{"class_order": ["a"]}'})
    with pytest.raises(ClassifierError, match="do not fit"):
        load_classifier(str(path))


def test_the_commands_accept_the_order_of_shapes(keras: Path, cache: Path) -> None:
    done = CliRunner().invoke(app, ["weights", "import", str(keras)])
    assert done.stdout.strip() == str(cache / "published.safetensors")
    assert "classes 0 to 3 are taken as amorphous,polyhedral,rhombic,spherical" in done.stderr
    assert str(cache) in CliRunner().invoke(app, ["weights", "list"]).stdout
    wrong = CliRunner().invoke(app, ["weights", "import", str(keras), "--class-order", "a,b"])
    assert isinstance(wrong.exception, PublishedError)
