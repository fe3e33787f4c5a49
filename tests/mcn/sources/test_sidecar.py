"""One rule assigns sidecars to pictures, wherever they are stored."""

import itertools
import random
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pytest

from mcn.sources.sidecar import Sidecars, find_sidecars, sidecar_sql, sidecar_texts, sidecars_of

PAIRS = [
    (image, text)
    for image, texts in {
        "a.tif": ("a.txt", "a.hdr", "a.tif.txt", "a.tif.hdr", "a-tif.txt", "a-tif.hdr"),
        "B.TIF": ("B.TXT", "b.txt", "B.txt", "B.HDR", "B-TIF.HDR", "b-tif.hdr", "B.TIF.TXT"),
        "D.TIF": ("D.txt", "D.tif.txt", "D-tif.Hdr", "d.Txt"),
        "Tile 07.Tif": ("tile 07.TXT", "TILE 07-TIF.HDR", "Tile 07.tif.txt"),
        "x.y.png": ("x.y.txt", "X.Y-PNG.hdr", "x.y.png.TXT"),
        "scan-3.jpeg": ("SCAN-3.txt", "scan-3-jpeg.hdr"),
        "no ending": ("no ending.txt", "NO ENDING.HDR"),
        "Grüße.tif": ("GRÜSSE.txt".replace("SS", "ß"), unicodedata.normalize("NFD", "Grüße.TXT")),
    }.items()
    for text in texts
]
UNRELATED = [
    ("a.tif", "b.txt"),
    ("a.tif", "a.txt.bak"),
    ("a.tif", "aa.txt"),
    ("a.tif", "a-png.txt"),
    ("a.tif", "a.png.txt"),
    ("a.tif", "atxt"),
    ("a.tif", ".txt"),
    ("a.tif", "a.json"),
    ("a.tif", "a.xml"),
]


@pytest.mark.parametrize(("image", "text"), PAIRS)
def test_a_sidecar_belongs_to_its_picture(image: str, text: str) -> None:
    assert sidecars_of(image, [image, text]) == [text]
    listing = Sidecars([f"w/{image}", f"w/{text}", f"v/{text}"])
    assert listing.of(f"w/{image}") == [f"w/{text}"]
    assert listing.holds(f"w/{text}")
    assert not listing.holds(f"w/{image}")
    assert not listing.holds(f"v/{text}")


@pytest.mark.parametrize(("image", "text"), UNRELATED)
def test_other_files_do_not_belong_to_a_picture(image: str, text: str) -> None:
    assert sidecars_of(image, [image, text]) == []


def test_several_sidecars_have_a_fixed_order() -> None:
    names = ["a.txt", "A.TXT", "a.hdr", "a.tif.txt", "a.tif.hdr", "a-tif.txt", "a-tif.hdr"]
    for seed in range(5):
        mixed = random.Random(seed).sample(names, len(names))
        assert sidecars_of("a.tif", mixed) == names
    assert sidecars_of("A.TIF", ["a.txt", "A.TXT"]) == ["A.TXT", "a.txt"]


def test_unread_sidecars_also_belong_to_a_picture() -> None:
    listing = Sidecars(["a.tif", "A.XML", "a.tif.json", "lonely.xml"])
    assert [listing.holds(name) for name in ("A.XML", "a.tif.json", "lonely.xml")] == [1, 1, 0]


def test_sql_and_python_agree() -> None:
    names = {name for pair in (*PAIRS, *UNRELATED) for name in pair if not name.startswith(".")}
    paths = [f"{folder}/{name}" for folder in ("s/w", "s/V") for name in sorted(names)]
    listed = pa.table({"path": random.Random(1).sample(paths, len(paths) - 9)})
    with duckdb.connect() as database:
        database.register("objects", listed)
        database.execute(sidecar_sql("objects"))
        belonging = {row[0] for row in database.sql("FROM sidecars").fetchall()}
        preferred = dict(database.sql("SELECT image, sidecar FROM preferred").fetchall())
    listing = Sidecars(listed["path"].to_pylist())
    pictures = [path for path in listed["path"].to_pylist() if not listing.holds(path)]
    assert belonging == set(listed["path"].to_pylist()) - set(pictures)
    assert len(preferred) > 5
    texts = (".txt", ".hdr", ".json", ".xml")
    expected = {
        path: listing.of(path)[0]
        for path in pictures
        if listing.of(path) and not path.lower().endswith(texts)
    }
    assert preferred == expected


@pytest.mark.parametrize(
    ("image", "text", "is_pair"),
    [
        ("ΣΑΣ.tif", "σας.txt", True),
        ("Ναός.TIF", "ΝΑΌΣ-TIF.HDR", True),
        ("Порода.tif", "ПОРОДА.TXT", True),
        ("大庆.tif", "大庆.tif.TXT", True),
        ("Kuyu İ.tif", "KUYU İ.txt", True),
        ("İ.tif", "i.txt", True),
        ("Ärger.tif", unicodedata.normalize("NFD", "ÄRGER.HDR"), True),
        ("Straße.tif", "STRASSE.txt", False),
        ("ı.tif", "I.txt", False),
    ],
)
def test_listing_and_sql_agree_in_every_script(image: str, text: str, is_pair: bool) -> None:
    with duckdb.connect() as database:
        database.register("objects", pa.table({"path": [f"f/{image}", f"f/{text}"]}))
        database.execute(sidecar_sql("objects"))
        preferred = database.sql("SELECT image, sidecar FROM preferred").fetchall()
    assert sidecars_of(image, [text]) == ([text] if is_pair else [])
    assert preferred == ([(f"f/{image}", f"f/{text}")] if is_pair else [])


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    root = f"/pair-{uuid.uuid4()}"
    fs.mkdir(root)
    yield root
    fs.rm(root, recursive=True)


@pytest.mark.parametrize(("image", "text"), PAIRS)
def test_a_sidecar_is_found_beside_a_stored_picture(
    tmp_path: Path, memory: str, image: str, text: str
) -> None:
    fs = fsspec.filesystem("memory")
    for name in (image, text, "other.txt"):
        (tmp_path / name).write_text(name)
        fs.pipe(f"{memory}/{name}", name.encode())
    assert find_sidecars(str(tmp_path / image)) == [f"file://{tmp_path}/{text}"]
    assert find_sidecars(f"memory:/{memory}/{image}") == [f"memory://{memory}/{text}"]
    assert list(sidecar_texts(str(tmp_path / image))) == [text]


def test_folders_and_missing_files_are_not_sidecars(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert find_sidecars(str(tmp_path / "a.tif")) == []
    assert find_sidecars(str(tmp_path / "none" / "a.tif")) == []


class _Bucket:
    """An object store that counts listed keys, and requires a prefix."""

    protocol = ("s3", "s3a")

    def __init__(self, keys: list[str]) -> None:
        self.keys, self.listed = keys, 0

    def find(self, folder: str, prefix: str, maxdepth: int) -> list[str]:
        assert prefix
        assert maxdepth == 1
        keys = [key for key in self.keys if key.startswith(f"{folder}/{prefix}")]
        self.listed += len(keys)
        return keys

    def isfile(self, key: str) -> bool:
        return key in self.keys

    def unstrip_protocol(self, key: str) -> str:
        return f"s3://{key}"


@pytest.mark.parametrize(
    ("image", "text"),
    [pair for pair in PAIRS if pair[0] not in ("Tile 07.Tif", "Grüße.tif")],
)
def test_only_keys_with_the_pictures_name_are_listed(
    image: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [f"core/{stem}{i}.tif" for stem, i in itertools.product("abBDx", range(500))]
    bucket = _Bucket([*crowd, f"core/{image}", f"core/{text}"])
    monkeypatch.setattr(
        "mcn.sources.sidecar.filesystem_of", lambda uri: (bucket, uri.removeprefix("s3://"))
    )
    assert find_sidecars(f"s3://core/{image}") == [f"s3://core/{text}"]
    assert bucket.listed <= 6


def test_names_are_tried_if_the_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(LocalFileSystem, "ls", refuse)
    for text in ("a.TXT", "a.txt", "a.tif.txt", "a-tif.hdr"):
        (tmp_path / text).write_text(text)
    assert [Path(uri).name for uri in find_sidecars(str(tmp_path / "a.tif"))] == [
        "a.TXT",
        "a.txt",
        "a.tif.txt",
        "a-tif.hdr",
    ]


@pytest.fixture
def s3_folder(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    bucket = f"pairs-{uuid.uuid4()}"
    fs.mkdir(bucket)
    yield fs, bucket
    s3fs.S3FileSystem.clear_instance_cache()


def test_sidecars_are_found_in_an_object_store(s3_folder: tuple[Any, str]) -> None:
    fs, bucket = s3_folder
    pairs = [pair for pair in PAIRS if pair[0] in ("a.tif", "B.TIF", "x.y.png")]
    for i, (image, text) in enumerate(pairs):
        for name in (image, text, "a/b.txt", "a.zarr/0.txt", "stranger.txt"):
            fs.pipe(f"{bucket}/{i}/{name}", name.encode())
    fs.pipe(f"{bucket}/lonely.tif", b"x")
    for i, (image, text) in enumerate(pairs):
        assert find_sidecars(f"s3://{bucket}/{i}/{image}") == [f"s3://{bucket}/{i}/{text}"]
        assert list(sidecar_texts(f"s3://{bucket}/{i}/{image}")) == [text]
    assert find_sidecars(f"s3://{bucket}/lonely.tif") == []
    assert find_sidecars(f"s3://{bucket}/none/a.tif") == []
