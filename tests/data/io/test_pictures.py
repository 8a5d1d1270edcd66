"""Pictures as volumes of one slice: every kind of pixel, labels, damage, limits, writing."""

import numpy as np
import pytest
from PIL import Image

from fewslice.core import limits
from fewslice.core.errors import ConfigError, DataError
from fewslice.data.io.itk import read_image_file
from fewslice.data.io.nifti import Grid
from fewslice.data.io.pictures import ENDINGS, is_coloured, write_label

RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
GREY = RGB[..., 0]
LIKE = Grid(GREY[:, :, None], (1, 1, 1), np.eye(4))


def saved(folder, array, name="a.png", **how):
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(folder / name, **how)
    return folder / name


@pytest.mark.parametrize("ending", ENDINGS)
def test_colours_lie_in_rows_and_columns(tmp_path, ending):
    found = read_image_file(saved(tmp_path, RGB, f"a{ending.upper()}"), num_channels=3)
    assert found.array.shape == (7, 5, 1, 3) and found.array.dtype == np.float32 and not found.notes
    assert "jp" in ending or np.array_equal(found.array[:, :, 0], RGB)


GREYS = {
    "L": (GREY, "a.png", GREY, ""),
    "LA": (Image.merge("LA", [Image.fromarray(GREY)] * 2), "a.png", GREY, "transparency"),
    "bilevel": (GREY > 127, "a.png", (GREY > 127) * 255, ""),
    "16-bit png": (GREY.astype(np.uint16) * 257, "a.png", GREY, "16 bits were scaled"),
    "16-bit tif": (GREY.astype(np.uint16) * 257, "a.tif", GREY, "16 bits were scaled"),
    "float": (GREY.astype(np.float32) / 7, "a.tif", GREY / np.float32(7), "32 bits"),
    "int32": (GREY.astype(np.int32), "a.tif", GREY, "32 bits"),
}


@pytest.mark.parametrize("array, name, expected, note", GREYS.values(), ids=GREYS)
def test_greys(tmp_path, array, name, expected, note):
    path = saved(tmp_path, array, name)
    one, three = read_image_file(path), read_image_file(path, num_channels=3)
    np.testing.assert_allclose(one.array[..., 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(three.array, np.stack([one.array] * 3, axis=-1))
    assert note in " ".join(one.notes) and bool(one.notes) == bool(note) and not is_coloured(path)
    assert three.notes[-1] == "grey became three equal channels"


@pytest.mark.parametrize("mode, note", [("RGBA", "transparency"), ("P", "palette"), ("CMYK", "CMYK"), ("YCbCr", "")])
def test_colours_of_other_kinds(tmp_path, mode, note):
    picture = Image.fromarray(RGB).convert(mode)
    path = saved(tmp_path, picture, "a.tif")
    found = read_image_file(path, num_channels=3)
    np.testing.assert_allclose(found.array[:, :, 0], np.asarray(picture.convert("RGB")), atol=0)
    assert note in " ".join(found.notes) and is_coloured(path)


def test_colours_become_grey_by_luminance(tmp_path):
    found = read_image_file(saved(tmp_path, RGB))
    np.testing.assert_allclose(found.array[..., 0], RGB @ [0.299, 0.587, 0.114], rtol=1e-5)
    assert "luminance" in found.notes[0]


def test_sixteen_bits_per_colour_are_told(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) * 257, photometric="rgb")
    found = read_image_file(tmp_path / "a.tif", num_channels=3)
    assert np.array_equal(found.array[:, :, 0], RGB) and "upper 8" in found.notes[0]


def test_labels_are_codes(tmp_path):
    codes = GREY.astype(np.uint16) + 300
    palette = Image.fromarray(GREY % 4)
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    for path, expected in (
        (saved(tmp_path, codes, "wide.png"), codes),
        (saved(tmp_path, palette, "palette.png"), GREY % 4),
        (saved(tmp_path, GREY > 9, "bilevel.png"), GREY > 9),
        (saved(tmp_path, np.stack([GREY] * 3, axis=-1), "equal.png"), GREY),
        (saved(tmp_path, np.kron(GREY > 127, np.ones((8, 8))).astype(np.uint8) * 255, "a.jpg", quality=60), None),
    ):
        found = read_image_file(path, is_label=True)
        expected = np.kron(GREY > 127, np.ones((8, 8))) * 255 if expected is None else expected
        assert np.array_equal(found.array[..., 0], expected) and found.array.dtype == np.int32


@pytest.mark.parametrize("name, found", [("a.png", "colours"), ("a.jpg", "between black and white")])
def test_labels_that_are_none(tmp_path, name, found):
    path = saved(tmp_path, RGB if name == "a.png" else np.full((8, 8), 90, np.uint8), name)
    with pytest.raises(DataError, match=found):
        read_image_file(path, is_label=True)


@pytest.mark.parametrize(
    "name, how", [*((f"a{end}", {}) for end in ENDINGS[:5]), ("b.tif", {"compression": "tiff_lzw"})]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_truncated_files_are_named(tmp_path, name, how):
    path = saved(tmp_path, np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8), name, **how)
    content = path.read_bytes()
    for size in (0, 1, 20, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=name):
            read_image_file(path, num_channels=3)
    rng = np.random.default_rng(2)
    for _ in range(60):  # damage is named or is in the pixels: no other error
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 200), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_image_file(path, num_channels=3)
        except DataError as error:
            assert name in str(error)


def test_limits_links_and_pages(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("1", (20000, 20000)))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(limits, "_most", [1.0])
    with pytest.raises(DataError, match="--max_gb"):
        read_image_file(path)
    pages = [Image.fromarray(GREY)] * 2
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "c.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "d.png").write_text("no picture", encoding="utf-8")
    for name, text in (
        ("b.tif", "2 pages"),
        ("c.png", "a link to"),
        ("d.png", "an intact file"),
        ("e.png", "No such file"),
    ):
        with pytest.raises(DataError, match=text):
            read_image_file(tmp_path / name)


def test_labels_are_written_and_read_again(tmp_path):
    for codes in (GREY % 3, GREY.astype(np.int32) * 200):
        write_label(tmp_path / "m.png", codes[:, :, None], like=LIKE)
        content = (tmp_path / "m.png").read_bytes()
        assert np.array_equal(read_image_file(tmp_path / "m.png", is_label=True).array[..., 0], codes)
        write_label(tmp_path / "m.png", codes[:, :, None], like=LIKE)
        assert (tmp_path / "m.png").read_bytes() == content
    with pytest.raises(ConfigError, match="0 to 65535"):
        write_label(tmp_path / "m.png", np.full((2, 2, 1), 70000), like=LIKE)
