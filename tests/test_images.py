"""An image in any of the usual forms."""

import base64
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ray_synapse.errors import PayloadError
from ray_synapse.images import MAX_IMAGE_BYTES, to_data_uri


def opened(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head.startswith("data:image/")
    assert head.endswith(";base64")
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    image.load()
    return image


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (255, 0, 0)).save(buffer, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("shape", "mode"),
    [((3, 5), "L"), ((3, 5, 1), "L"), ((3, 5, 3), "RGB"), ((3, 5, 4), "RGBA"), ((1, 1), "L")],
    ids=str,
)
def test_an_array_becomes_a_png_with_the_same_pixels(shape: tuple[int, ...], mode: str) -> None:
    array = np.arange(np.prod(shape), dtype="uint8").reshape(shape)
    image = opened(to_data_uri(array))
    assert (image.format, image.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(image), array.reshape(np.asarray(image).shape))


def test_an_array_in_fortran_order_or_a_slice_has_the_same_pixels() -> None:
    array = np.arange(48, dtype="uint8").reshape(4, 4, 3)
    for same in (np.asfortranarray(array), array[::-1][::-1]):
        assert np.array_equal(np.asarray(opened(to_data_uri(same))), array)


def test_floats_are_taken_from_0_to_1_and_what_is_outside_is_clipped() -> None:
    array = np.array([[0.0, 0.5, 1.0, 2.0, -1.0]], dtype="float32")
    assert np.asarray(opened(to_data_uri(array))).tolist() == [[0, 128, 255, 255, 0]]


def test_integers_are_taken_from_0_to_255_and_what_is_outside_is_clipped() -> None:
    array = np.array([[0, 7, 255, 256, -1]], dtype="int64")
    assert np.asarray(opened(to_data_uri(array))).tolist() == [[0, 7, 255, 255, 0]]


def test_a_mask_of_bools_is_black_and_white() -> None:
    assert np.asarray(opened(to_data_uri(np.array([[True, False]])))).tolist() == [[255, 0]]


def test_values_that_are_not_finite_make_no_noise() -> None:
    array = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(opened(to_data_uri(array))).tolist() == [[0, 255, 0, 255]]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((2, 2, 2)),
        np.zeros((3, 32, 32)),
        np.zeros((1, 2, 2, 3)),
        np.zeros((0, 5)),
        np.zeros((2, 2), dtype=complex),
        np.array([["a", "b"]]),
        np.array([[None]], dtype=object),
        np.float32(1),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_image_is_an_error_that_says_what_is_one(array: Any) -> None:
    with pytest.raises(PayloadError, match=r"image: .* is none; give"):
        to_data_uri(array)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32", "bfloat16"])
def test_a_tensor_is_an_image_or_a_clear_error(kind: str, grad: bool) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones((2, 3), dtype=getattr(torch, kind))
    if grad and tensor.is_floating_point():
        tensor.requires_grad_()
    try:
        uri = to_data_uri(tensor)
    except PayloadError:
        assert grad or kind == "bfloat16"
    else:
        assert opened(uri).size == (3, 2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "F"])
def test_a_pil_image_of_any_mode_becomes_a_png(mode: str) -> None:
    image = opened(to_data_uri(Image.new("RGB", (4, 3), (255, 0, 0)).convert(mode)))
    assert (image.format, image.size) == ("PNG", (4, 3))


def test_a_pil_image_that_turns_out_to_be_damaged_is_a_clear_error() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="PNG")
    damaged = Image.open(io.BytesIO(buffer.getvalue()[:1_000]))
    with pytest.raises(PayloadError):
        to_data_uri(damaged)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_the_bytes_of_an_image_file_are_sent_as_they_are(form: str) -> None:
    content = encoded(form)
    for same in (content, bytearray(content), memoryview(content)):
        uri = to_data_uri(same)
        assert uri.startswith(f"data:image/{form.lower()};base64,")
        assert base64.b64decode(uri.partition(",")[2]) == content


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_file_is_sent_as_it_is_and_known_by_its_content(tmp_path: Path, as_path: Any) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(encoded("JPEG"))
    assert to_data_uri(as_path(file)).startswith("data:image/jpeg;base64,")


def test_a_file_of_another_kind_is_known_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    file.write_text("<svg/>")
    assert to_data_uri(file).startswith("data:image/svg+xml;base64,")


def test_a_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(PayloadError, match=str(path)):
            to_data_uri(path)


@pytest.mark.parametrize("value", [None, 3, [[1, 2]], {}, object()], ids=repr)
def test_what_is_no_image_is_an_error_that_says_what_is_one(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"image: a .* is none; give a path"):
        to_data_uri(value)


def test_an_image_of_more_than_20_mib_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    with open(file, "wb") as stream:
        stream.truncate(MAX_IMAGE_BYTES + 1)
    for image in (file, file.read_bytes()):
        with pytest.raises(PayloadError, match=r"it has .* MB, allowed are"):
            to_data_uri(image)
