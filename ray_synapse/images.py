"""An image in any of the usual forms to a data URI."""

import base64
import io
import mimetypes
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from ray_synapse.errors import PayloadError

MAX_IMAGE_BYTES = 20 << 20  # as a file; it is kept in memory until it is delivered

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_PNG_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> grey, RGB, RGBA (PNG specification, 11.2.2)


def to_data_uri(image: Any) -> str:
    """Encode an image as ``data:<mime>;base64,<content>``.

    Args:
        image: A path, the bytes of an image file, a PIL image, or an array of numpy (or a tensor
            on the CPU) of shape (height, width), (height, width, 1), (..., 3) or (..., 4), either
            integers from 0 to 255 or floats from 0 to 1.

    Raises:
        PayloadError: It is none of these, cannot be read, or has more than 20 MiB.
    """
    content, mime = _encode(image)
    if len(content) > MAX_IMAGE_BYTES:
        raise PayloadError(
            f"image: it has {len(content) / 1e6:.1f} MB, allowed are {MAX_IMAGE_BYTES / 1e6:.1f}. "
            "Log a smaller version of it."
        )
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _encode(image: Any) -> tuple[bytes, str]:
    if isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
        return content, _mime_of(content) or "application/octet-stream"
    if isinstance(image, (str, os.PathLike)):
        return _read(Path(image))
    if callable(getattr(image, "save", None)) and hasattr(image, "mode"):
        return _save_pil(image), "image/png"
    if (hasattr(image, "shape") and hasattr(image, "tobytes")) or hasattr(image, "numpy"):
        return _encode_array(image), "image/png"
    raise PayloadError(
        f"image: a {type(image).__name__} is none; give a path, the bytes of an image file, a PIL "
        "image or a numpy array."
    )


def _read(path: Path) -> tuple[bytes, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PayloadError(
            f"image: {path} cannot be read ({error.strerror}); give the path of an image file."
        ) from error
    mime = _mime_of(content) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return content, mime


def _mime_of(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if content.startswith(magic)), None)


def _save_pil(image: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = image.convert("RGB")
        image.save(buffer, format="PNG")
    except Exception as error:  # it is read from its file only now
        raise PayloadError(f"image: the PIL image cannot be read: {error}") from error
    return buffer.getvalue()


def _encode_array(image: Any) -> bytes:
    """PNG without Pillow, so that an array can be logged wherever numpy is."""
    import numpy as np  # Tune depends on it; late, since most processes log no array

    try:
        array = np.asarray(image.detach() if hasattr(image, "detach") else image)
    except Exception as error:  # a tensor on a GPU, or of a type that numpy lacks
        raise PayloadError(
            f"image: this {type(image).__name__} is no array for numpy ({error}); convert it first."
        ) from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _PNG_COLOR_TYPES or 0 in array.shape:
        raise PayloadError(
            f"image: an array of shape {tuple(np.shape(image))} is none; give (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels."
        )
    if array.dtype.kind not in "biuf":
        raise PayloadError(f"image: an array of {array.dtype} is none; give integers or floats.")
    if array.dtype.kind in "fb":
        array = np.nan_to_num(array.astype("float64"), posinf=1.0, neginf=0.0) * 255.0
    pixels = np.clip(array.round(), 0, 255).astype("uint8")
    height, width, channels = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 6)), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
