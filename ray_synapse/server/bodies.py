"""What a client sends: JSON within a limit, and files that go to the disk as they come."""

import json
import logging
from typing import Any, NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ray_synapse.backend.api.chunks import MAX_CHUNK_BYTES
from ray_synapse.backend.api.uploads import Chunk
from ray_synapse.errors import RefusedError, TooLargeError

MAX_JSON_BYTES = 32 << 20  # an image of 20 MiB, the most that a run logs, has 27 MiB in base64
MAX_JSON_VALUES = 2_000_000  # 10,000 trials of 200 columns; each takes 50 to 100 bytes here
MAX_FORM_BYTES = MAX_CHUNK_BYTES + (1 << 20)  # a chunk, and what is around it
MAX_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
MAX_FILENAME_BYTES = 1000
WRITE_BYTES = 1 << 20  # goes to the disk at once

# It would print a line for each body that is damaged.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


async def json_body(request: Request) -> bytes:
    """The body of a request that must have JSON, not parsed yet.

    Raises:
        HTTPException: It says that it is something else (415).
        TooLargeError: It has over 32 MiB.
    """
    kind = request.headers.get("content-type", "application/json")
    if parse_options_header(kind)[0] != b"application/json":
        raise HTTPException(415, f"Send application/json, not {kind}.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_JSON_BYTES:
            raise TooLargeError(f"a JSON body has at most {MAX_JSON_BYTES} bytes.")
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """The JSON of a body.

    Raises:
        RefusedError: It is none, or has NaN or infinities, which Python's parser would take.
        TooLargeError: It has over 2,000,000 values.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise TooLargeError(
            f"a JSON body has at most {MAX_JSON_VALUES} values (commas and brackets are counted)."
        )
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise RefusedError("the JSON nests too deep.") from None
    except ValueError as error:  # also text that is no UTF-8, and integers of 5,000 digits
        raise RefusedError(f"the body is no JSON: {error}.") from None


async def receive_chunk(request: Request, chunk: Chunk) -> str:
    """Write the ``file`` of a multipart body into a chunk as it comes.

    Returns:
        The ``filename``.

    Raises:
        RefusedError: It is not multipart, ends early, or has no ``file``.
        TooLargeError: It has more bytes than any chunk.
    """
    form = _Form(request.headers.get("content-type", ""))
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_FORM_BYTES:
            raise TooLargeError(f"a chunk has at most {MAX_CHUNK_BYTES} bytes.")
        form.feed(piece)
        if len(form.file) >= WRITE_BYTES:
            await run_in_threadpool(chunk.write, form.taken())
    form.check_end()
    await run_in_threadpool(chunk.write, form.taken())
    return form.filename.decode("utf-8", "replace")


class _Form:
    """The two fields of an upload, out of a multipart body."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise RefusedError("a chunk is sent as multipart/form-data with a boundary.")
        self.file, self.filename = bytearray(), bytearray()
        self._field, self._has_file, self._has_ended = b"", False, False
        self._header, self._value = bytearray(), bytearray()
        if len(options[b"boundary"]) > MAX_BOUNDARY_BYTES:
            raise RefusedError("the boundary of a multipart body has at most 70 characters.")
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise RefusedError(f"the multipart body is damaged: {error}.") from None

    def taken(self) -> bytes:
        """The bytes of the file that came since the last call."""
        data = bytes(self.file)
        self.file.clear()
        return data

    def check_end(self) -> None:
        """Refuse a body that is not whole."""
        if not self._has_ended:
            raise RefusedError("the multipart body ends early.")
        if not self._has_file:
            raise RefusedError({"file": ["This field is required."]})

    def _begin(self) -> None:
        self._field = b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._field = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self._has_file = self._has_file or self._field == b"file"
        self._header.clear()
        self._value.clear()

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._field == b"file":
            self.file += data[start:end]
        elif self._field == b"filename" and len(self.filename) < MAX_FILENAME_BYTES:
            self.filename += data[start : min(end, start + MAX_FILENAME_BYTES)]

    def _end(self) -> None:
        self._has_ended = True


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON; send null instead")
