"""Write one record batch as an Arrow IPC file whose buffers can be mapped as they are.

pyarrow aligns the buffers of an IPC file to 8 bytes. The engine wants decimals and string views at
16 and silently copies every column that lies otherwise, at *each* query: a mapped tail would then
live in anonymous memory after all. The format allows wider padding (and recommends 64 bytes), so
this module lets pyarrow encode the message and lays its buffers out again.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from flight_server.tail.columns import no_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIGNMENT_BYTES = 64
_CONTINUATION = 0xFFFFFFFF
_END_OF_STREAM = struct.pack("<II", _CONTINUATION, 0)
_MAGIC_BYTES = 6

# Positions of fields in the tables of Arrow's Message.fbs and File.fbs.
_MESSAGE_HEADER, _MESSAGE_BODY_LENGTH = 2, 3
_BATCH_BUFFERS = 2
_FOOTER_BATCHES = 3


def write_file(sink: BinaryIO, batch: pa.RecordBatch, metadata: Mapping[str, str]) -> int:
    """Write `batch` as an IPC file with this schema metadata; returns the bytes written."""
    schema = batch.schema.with_metadata(dict(metadata))
    template = _plain_file(schema)
    if batch.num_rows == 0:
        return sink.write(template)
    (footer_bytes,) = struct.unpack_from("<i", template, len(template) - _MAGIC_BYTES - 4)
    footer_at = len(template) - _MAGIC_BYTES - 4 - footer_bytes
    footer = bytearray(template[footer_at : footer_at + footer_bytes])
    block_at = _vector(footer, _root(footer), _FOOTER_BATCHES)[0]
    (batch_at,) = struct.unpack_from("<q", footer, block_at)

    message, body_parts, body_bytes = _aligned_message(batch, batch_at)
    struct.pack_into("<qi4xq", footer, block_at, batch_at, len(message), body_bytes)
    written = sink.write(memoryview(template)[:batch_at]) + sink.write(message)
    written += sum(sink.write(part) for part in body_parts)
    return written + sink.write(_END_OF_STREAM + footer + template[footer_at + footer_bytes :])


def _plain_file(schema: pa.Schema) -> bytes:
    """A file with one batch without rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(no_rows(schema))
    plain: bytes = sink.getvalue().to_pybytes()
    return plain


def _aligned_message(
    batch: pa.RecordBatch, file_offset: int
) -> tuple[bytes, list[memoryview | bytes], int]:
    """The message's header, the parts of its body in order, and the body's length."""
    encoded = memoryview(batch.serialize())
    (header_bytes,) = struct.unpack_from("<i", encoded, 4)
    header = bytearray(encoded[8 : 8 + header_bytes])
    body = encoded[8 + header_bytes :]
    message = _root(header)
    buffers_at, count = _vector(header, _follow(header, message, _MESSAGE_HEADER), _BATCH_BUFFERS)
    parts: list[memoryview | bytes] = []
    position = 0
    for slot in range(buffers_at, buffers_at + 16 * count, 16):
        offset, length = struct.unpack_from("<qq", header, slot)
        struct.pack_into("<q", header, slot, position)
        padded = _padded(length)
        parts += [body[offset : offset + length], bytes(padded - length)]
        position += padded
    struct.pack_into("<q", header, _field(header, message, _MESSAGE_BODY_LENGTH), position)
    size = _padded(file_offset + 8 + header_bytes) - file_offset - 8
    prefix = struct.pack("<Ii", _CONTINUATION, size)
    return prefix + bytes(header) + bytes(size - header_bytes), parts, position


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _root(buffer: bytearray) -> int:
    """Position of a flatbuffer's root table."""
    return int(struct.unpack_from("<I", buffer, 0)[0])


def _field(buffer: bytearray, table: int, index: int) -> int:
    """Position of a table's field, which must be present."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    return int(table + struct.unpack_from("<H", buffer, vtable + 4 + 2 * index)[0])


def _follow(buffer: bytearray, table: int, index: int) -> int:
    """Position of what a table's field refers to."""
    at = _field(buffer, table, index)
    return int(at + struct.unpack_from("<I", buffer, at)[0])


def _vector(buffer: bytearray, table: int, index: int) -> tuple[int, int]:
    """Position of a vector's first element, and how many it has."""
    at = _follow(buffer, table, index)
    return at + 4, int(struct.unpack_from("<I", buffer, at)[0])
