"""A file's pictures as they are meant to be seen: turned, out of palettes, one of several."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mcn.micrograph import Micrograph, decode_micrograph
from mcn.micrograph.data_bar import find_data_bar

RNG = np.random.default_rng(3)
GREY = np.clip(np.cumsum(RNG.normal(0, 8, (60, 90)), axis=1) + 120, 0, 255).astype(np.uint8)
ZEISS = Path(__file__).resolve().parents[4] / "shared" / "data" / "vendor" / "zeiss_data_bar.tif"


def tiff(*pages: NDArray[np.generic], **options: object) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, **{"metadata": None, **options})  # type: ignore[arg-type]
    return file.getvalue()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes, sidecar: str | None = None) -> Micrograph:
    return decode_micrograph(data, "a.tif", sidecar=sidecar)


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """As Pillow shows it, which other viewers agree with."""
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def exif(orientation: object) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block


def oriented(pixels: NDArray[np.uint8], kind: str, orientation: int) -> bytes:
    if kind == "TIFF":
        return tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    return saved(Image.fromarray(pixels), kind, exif=exif(orientation), **options)


def with_bar(height: int = 384, width: int = 512) -> NDArray[np.uint8]:
    waves = np.cumsum(np.cumsum(RNG.normal(0, 1, (height, width)), axis=0), axis=1)
    picture = 120 + 60 * waves / np.abs(waves).max() + RNG.normal(0, 12, waves.shape)
    bar = Image.new("L", (width, 36), 0)
    pen = ImageDraw.Draw(bar)
    text = "15.0 kV  x5,000  WD 8.6 mm  SE  HFW 20.4 um"
    pen.text((6, 8), text, fill=255, font=ImageFont.load_default(size=16))
    return np.vstack([picture.clip(0, 255).astype(np.uint8)[:-36], np.asarray(bar)])


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_other_viewers_show_them(kind: str, orientation: int) -> None:
    pixels = decode(oriented(GREY, kind, orientation)).pixels
    expected = turned(GREY, orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (0 if kind != "JPEG" else 8)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.bool_])
def test_wide_and_narrow_values_are_turned_too(kind: type[np.generic]) -> None:
    values = GREY > 120 if kind is np.bool_ else GREY.astype(kind)
    data = tiff(values, extratags=[(274, 3, 1, 6, True)], photometric="minisblack")
    assert np.array_equal(
        decode(data).pixels, turned(decode(tiff(values, photometric="minisblack")).pixels, 6)
    )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation: int) -> None:
    for kind in ("TIFF", "PNG", "JPEG"):
        assert decode(oriented(GREY, kind, orientation)).pixels.shape == GREY.shape


def test_damaged_exif_turns_nothing() -> None:
    for block in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(40)):
        data = saved(Image.fromarray(GREY), "JPEG", exif=block)
        assert decode(data).pixels.shape == GREY.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_bar_is_where_the_picture_shows_it(orientation: int) -> None:
    upright = with_bar()
    # Stored so that the picture is upright when it is shown.
    back = {6: 8, 8: 6}.get(orientation, orientation)
    micrograph = decode(oriented(turned(upright, back), "TIFF", orientation))
    assert np.array_equal(micrograph.pixels, upright)
    assert micrograph.data_bar_y == pytest.approx(348, abs=2)


@pytest.mark.parametrize("orientation", range(3, 9))
@pytest.mark.parametrize("is_told", [True, False])
def test_a_bar_that_was_turned_away_is_painted_over(orientation: int, is_told: bool) -> None:
    stored = with_bar()
    notes = "[Scan]\nPixelWidth=1e-8\n[Image]\nResolutionX=512\nResolutionY=348\n"
    tags = [(274, 3, 1, orientation, True), *([(34682, "s", 0, notes, True)] if is_told else [])]
    micrograph = decode(tiff(stored, extratags=tags))
    assert micrograph.data_bar_y is None
    back = turned(micrograph.pixels, {6: 8, 8: 6}.get(orientation, orientation))
    assert back[349:].std() == 0
    assert np.array_equal(back[:345], stored[:345])
    assert micrograph.pixel_size_um == (pytest.approx(0.01) if is_told else None)


@pytest.mark.skipif(not ZEISS.is_file(), reason="the shared vendors' files are not at hand")
def test_sizes_of_makers_count_stored_columns() -> None:
    data = ZEISS.read_bytes()
    before = decode(data)
    with tifffile.TiffFile(ZEISS) as file:
        tag = file.pages.first.tags[34118]
        text = data[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
        grey = file.pages.first.asarray()
    options = [(34118, 2, 0, text, True), (274, 3, 1, 8, True)]
    turned_ = decode(tiff(grey, extratags=options))
    assert turned_.pixels.shape == before.pixels.shape[::-1]
    assert turned_.pixel_size_um == before.pixel_size_um


FEI = (
    "[Scan]\nPixelWidth=5e-8\n[Image]\nResolutionX=1024\nResolutionY=884\n"
    "[PrivateFei]\nDatabarHeight=59\n"
)
JEOL = "$CM_FORMAT JEOL/SEM\n$CM_FULL_SIZE 1280 960\n"


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_a_scan_height_is_scaled_with_the_picture(scale: float) -> None:
    flat = np.full((round(943 * scale), round(1024 * scale)), 90, dtype=np.uint8)
    fei = decode(tiff(flat, extratags=[(34682, "s", 0, FEI, True)]))
    assert fei.data_bar_y == pytest.approx(884 * scale, abs=1)
    flat = np.full((round(1024 * scale), round(1280 * scale)), 90, dtype=np.uint8)
    assert decode(tiff(flat), JEOL).data_bar_y == pytest.approx(960 * scale, abs=1)


@pytest.mark.parametrize(
    ("height", "width"), [(943, 900), (700, 1024 // 2), (442, 512), (800, 800)]
)
def test_a_scan_height_of_a_cut_picture_is_not_scaled(height: int, width: int) -> None:
    flat = np.full((height, width), 90, dtype=np.uint8)
    assert decode(tiff(flat, extratags=[(34682, "s", 0, FEI, True)])).data_bar_y is None


def test_a_bar_height_without_a_width_gives_way_to_the_bar_that_is_seen() -> None:
    picture = with_bar(768, 1024)
    small = np.asarray(Image.fromarray(picture).resize((512, 384), Image.Resampling.LANCZOS))
    notes = "[MAIN]\nPixelSizeX=4e-8\nImageStripSize=36\n"
    for pixels, expected in ((picture, 732), (small, 366)):
        micrograph = decode(tiff(pixels), notes)
        assert micrograph.data_bar_y == pytest.approx(expected, abs=3)
        assert find_data_bar(pixels) == pytest.approx(expected, abs=3)


def palette_tiff(indices: NDArray[np.uint8], colours: NDArray[np.uint16]) -> bytes:
    return tiff(indices, photometric="palette", colormap=colours)


@pytest.mark.parametrize("factor", [1, 256, 257])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_palettes_of_8_and_16_bits(factor: int, is_inverted: bool) -> None:
    ramp = np.arange(256, dtype=np.uint16)
    levels = ramp[::-1] if is_inverted else ramp
    indices = 255 - GREY if is_inverted else GREY
    data = palette_tiff(indices, np.tile(levels * np.uint16(factor), (3, 1)))
    assert np.array_equal(decode(data).pixels, GREY)


@pytest.mark.parametrize("factor", [1, 257])
def test_colours_of_palettes_are_weighed(factor: int) -> None:
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    image = Image.fromarray(colours.T[GREY].astype(np.uint8))
    expected = np.asarray(image.convert("L")).astype(int)
    pixels = decode(palette_tiff(GREY, colours * np.uint16(factor))).pixels
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, 1, "each"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_palettes_of_few_colours(bits: int, transparency: object, kind: str) -> None:
    levels = RNG.permutation(np.linspace(0, 255, 2**bits)).astype(np.uint8)
    indices = GREY >> (8 - bits)
    image = Image.fromarray(indices, "P")
    image.putpalette(np.repeat(levels, 3).tobytes())
    options: dict[str, object] = {"bits": bits} if kind == "PNG" else {}
    if transparency is not None and kind == "PNG":
        options["transparency"] = bytes(2**bits) if transparency == "each" else transparency
    assert np.array_equal(decode(saved(image, kind, **options)).pixels, levels[indices])


def test_a_transparent_grey_or_colour_of_png_keeps_its_grey() -> None:
    for image, transparent in (
        (Image.fromarray(GREY), 120),
        (Image.fromarray(np.dstack([GREY] * 3)), (120, 120, 120)),
    ):
        data = saved(image, "PNG", transparency=transparent)
        assert np.array_equal(decode(data).pixels, GREY)


SMALL = GREY[::2, ::2]
OTHER = RNG.integers(0, 255, (40, 90), dtype=np.uint8)


def imagej(n: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([GREY] * n), imagej=True)
    return file.getvalue()


def one_directory(n: int) -> bytes:
    """As ImageJ writes stacks of more than 4 GB: one directory, the pictures behind each other."""
    text = f"ImageJ=1.54f\nimages={n}\nslices={n}\n"
    return tiff(GREY, description=text) + GREY.tobytes() * (n - 1)


def ome(n: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([GREY] * n), ome=True, metadata={"axes": "ZYX"})
    return file.getvalue()


def pyramid(tagged: bool) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY, metadata=None, subifds=1 if tagged else 0)
        writer.write(SMALL, metadata=None, subfiletype=1 if tagged else 0)
        writer.write(GREY[::4, ::4], metadata=None, subfiletype=1 if tagged else 0)
    return file.getvalue()


def masked() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY, metadata=None)
        writer.write(GREY > 9, metadata=None, subfiletype=4, photometric="mask")
    return file.getvalue()


def with_thumbnail() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY[::5, ::5], metadata=None, subfiletype=1)
        writer.write(GREY, metadata=None)
        writer.write(OTHER, metadata=None)
    return file.getvalue()


def animated(n: int) -> bytes:
    frames = [Image.fromarray(np.roll(GREY, i, axis=1)) for i in range(n)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (tiff(GREY), 1),
        (tiff(GREY, GREY, OTHER), 3),
        (tiff(GREY, OTHER), 2),
        (tiff(*[GREY] * 200), 200),
        (imagej(5), 5),
        (one_directory(7), 7),
        (one_directory(7)[: -GREY.nbytes], 6),
        (ome(4), 4),
        (pyramid(tagged=True), 1),
        (pyramid(tagged=False), 1),
        (masked(), 1),
        (with_thumbnail(), 2),
        (tiff(GREY, SMALL[:20]), 2),
        (tiff(GREY, SMALL), 2),
        (tiff(GREY, SMALL, SMALL), 3),
        (tiff(GREY, GREY[::4, ::4], SMALL), 3),
        (tiff(GREY, OTHER, SMALL), 3),
        (animated(3), 3),
        (saved(Image.fromarray(GREY), "PNG"), 1),
        (saved(Image.fromarray(GREY), "JPEG"), 1),
    ],
)
def test_pages_are_counted_and_the_first_is_read(data: bytes, pages: int) -> None:
    micrograph = decode(data)
    assert micrograph.pages == pages
    assert micrograph.pixels.shape == GREY.shape


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_are_counted_in_every_kind_of_tiff(order: str, bigtiff: bool) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=bigtiff) as writer:  # type: ignore[arg-type]
        for _ in range(3):
            writer.write(GREY, metadata=None)
    assert decode(file.getvalue()).pages == 3


def test_a_chain_of_pages_that_ends_nowhere_or_in_itself_counts_as_far_as_it_goes() -> None:
    data = bytearray(tiff(GREY, GREY))
    first = int.from_bytes(data[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    for target in (first, len(data) + 50, 0):
        data[link : link + 4] = target.to_bytes(4, "little")
        assert decode(bytes(data)).pages == 1
