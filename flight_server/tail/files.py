"""Sealed segments as Arrow IPC files, mapped into memory: the tail's home and its warm restart.

    <directory>/<table>/lock
    <directory>/<table>/000000000012.0.arrow      rows of lane 0 of segment 12
    <directory>/<table>/000000000012.head.arrow   its rejected messages, and what the segment is

Files are written under a temporary name and renamed, the head last: a segment without a head does
not exist. They are a cache and never synchronised to disk: Kafka is the truth, and what was
written before the machine's last boot is thrown away. Removing a file takes it from the
directory only; a view that has it mapped goes on reading it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.errors import UnavailableError
from contract.health import Code, storage_code
from contract.table import LANES, Lane
from flight_server.tail.aligned_ipc import write_file
from flight_server.tail.chunk import (
    REJECTS_LANE,
    Chunk,
    Ranges,
    Segment,
    joined_missing,
    joined_ranges,
    rows_by_lane,
    rows_of_lane,
)
from flight_server.tail.columns import (
    DEAD_TAIL_SCHEMA,
    as_strings,
    as_views,
    concat,
    no_rows,
    tail_schema,
)
from flight_server.tail.room import FullError, locked, no_room

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from contract.table import TableDefinition
    from flight_server.tail.watermarks import Gaps

FORMAT = 1
_KEY = "highwater.tail"
_HEAD = "head"
_FILE_BYTES = 16 * 1024  # more than a file has besides its rows: descriptions, padding


@dataclass(frozen=True, slots=True)
class Origin:
    """What the tail's files must agree on with the server that maps them."""

    topic: str
    topic_id: str
    rules_digest: str
    boot_id: str
    gaps: Gaps


class TailFiles:
    """The directory of one table's sealed segments. Any thread may call any method."""

    def __init__(
        self, directory: Path, definition: TableDefinition, boot_id: str, cap_bytes: int
    ) -> None:
        """Make and lock the directory.

        `boot_id`: changes with every start of the machine. `cap_bytes`: of all files together.

        Raises:
            OperatorError: another process has it, or it can't be written.
        """
        self._directory = directory / definition.name
        self._definition = definition
        self._schema = tail_schema(definition)
        self._boot_id = boot_id
        self._cap_bytes = cap_bytes
        self.busy = threading.Lock()  # held over seal-and-publish, and over load-and-start
        self._guard = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._next_number = 1
        self._lock_file = locked(self._directory, definition.name)

    @property
    def byte_count(self) -> int:
        """Bytes of all files."""
        with self._guard:
            return sum(self._sizes.values())

    def close(self) -> None:
        """Let another process have the directory; the files stay."""
        self._lock_file.close()

    def seal(self, segments: Sequence[Segment], topic_id: str, gaps: Gaps = ()) -> Segment:
        """Write these open neighbours as one segment and map it; returns the sealed segment.

        Raises:
            FullError: the cap is reached, or the disk takes no more; nothing was written.
        """
        rejects = concat([s.rejects.batch for s in segments])
        if rejects.num_rows:
            rejects = as_views(as_strings(rejects), DEAD_TAIL_SCHEMA, compact=True)
        rows_bytes = sum(s.chunks[0].batch.nbytes for s in segments)
        self._require_room(rows_bytes + rejects.nbytes + len(LANES) * _FILE_BYTES)
        with self._guard:
            number = self._next_number
            self._next_number += 1
        about = self._description(segments, topic_id, gaps)
        ranges = joined_ranges(segments)
        chunks = []
        try:
            for lane in LANES:
                rows = rows_of_lane(segments, lane, self._schema)
                if rows.num_rows:
                    rows = self._write(_name(number, lane), rows, about)
                chunks.append(Chunk(lane, ranges, rows))
            head = self._write(_name(number, None), rejects, about)
        except OSError as error:
            self.remove(number, None)
            raise no_room(error) from error
        sealed = self._segment(number, ranges, tuple(chunks), head, segments[0].since_s)
        return replace(sealed, missing_below=joined_missing(segments))

    def _description(
        self, segments: Sequence[Segment], topic_id: str, gaps: Gaps
    ) -> dict[str, Any]:
        """What stands in the files' metadata: JSON values only."""
        missing = joined_missing(segments)
        return {
            "format": FORMAT,
            "topic": self._definition.topic,
            "topic_id": topic_id,
            "rules_digest": self._definition.rules_digest,
            "boot_id": self._boot_id,
            "gaps": [list(gap) for gap in gaps],
            "ranges": {str(p): list(r) for p, r in joined_ranges(segments).items()},
            "missing_below": {str(p): list(o) for p, o in missing.items()},
            "rows": rows_by_lane(segments),
        }

    def load(self, topic_id: str, since_s: float, gaps: Gaps = ()) -> list[Segment]:
        """The segments that are there, in log order; what can't be used is removed.

        A lane whose file is gone (it was trimmed) has no chunk. Whether the segments fit each
        other and a marker is for the caller to see.
        """
        topic, rules = self._definition.topic, self._definition.rules_digest
        origin = Origin(topic, topic_id, rules, self._boot_id, gaps)
        with self._guard:
            self._sizes.clear()
        segments: list[Segment] = []
        seen: set[str] = {"lock"}
        for head in sorted(self._directory.glob(f"*.{_HEAD}.arrow")):
            number = int(head.name.partition(".")[0])
            self._next_number = max(self._next_number, number + 1)
            if segment := self._load_one(number, origin, since_s):
                segments.append(segment)
                seen |= {_name(number, lane) for lane in (None, *LANES)}
        for path in self._directory.iterdir():
            if path.name not in seen:
                path.unlink(missing_ok=True)
        return segments

    def remove(self, number: int, lane: Lane | None) -> None:
        """Remove the file of one lane of a segment, or (None) the whole segment."""
        names = [_name(number, lane)]
        if lane is None:
            names += [_name(number, each) for each in LANES]
        for name in names:
            (self._directory / name).unlink(missing_ok=True)
            with self._guard:
                self._sizes.pop(name, None)

    def remove_all(self) -> None:
        """Remove every file of every segment."""
        for head in self._directory.glob(f"*.{_HEAD}.arrow"):
            self.remove(int(head.name.partition(".")[0]), None)

    def _require_room(self, size: int) -> None:
        if self.byte_count + size > self._cap_bytes:
            raise FullError(
                Code.TAIL_FULL,
                "the tail's files have reached their size limit: the tail goes on when a commit "
                "of the ingest has covered some of it",
            )

    def _segment(
        self,
        number: int,
        ranges: Ranges,
        chunks: tuple[Chunk, ...],
        rejects: pa.RecordBatch,
        since_s: float,
    ) -> Segment:
        with self._guard:
            size = sum(self._sizes.get(_name(number, lane), 0) for lane in (None, *LANES))
        return Segment(
            ranges=ranges,
            chunks=chunks,
            rejects=Chunk(REJECTS_LANE, ranges, rejects),
            row_count=sum(c.batch.num_rows for c in chunks),
            byte_count=size,
            since_s=since_s,
            number=number,
        )

    def _write(self, name: str, batch: pa.RecordBatch, about: dict[str, Any]) -> pa.RecordBatch:
        path = self._directory / name
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as sink:
                size = write_file(sink, batch, {_KEY: json.dumps(about)})
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        with self._guard:
            self._sizes[name] = size
        mapped, _ = _mapped(path, batch.schema)
        return mapped

    def _load_one(self, number: int, origin: Origin, since_s: float) -> Segment | None:
        try:
            rejects, about = _mapped(self._directory / _name(number, None), DEAD_TAIL_SCHEMA)
            gaps = tuple((int(p), int(lo), int(hi)) for p, lo, hi in about["gaps"])
            found = Origin(
                about["topic"], about["topic_id"], about["rules_digest"], about["boot_id"], gaps
            )
            if about["format"] != FORMAT or found != origin:
                return None
            ranges = {int(p): (int(lo), int(hi)) for p, (lo, hi) in about["ranges"].items()}
            missing = {int(p): tuple(o) for p, o in about["missing_below"].items()}
            lanes = {lane: self._load_lane(number, lane, about) for lane in LANES}
        except (OSError, pa.ArrowInvalid, ValueError, KeyError, TypeError) as error:
            if storage_code(error) is Code.OUT_OF_DESCRIPTORS:
                raise UnavailableError("no file descriptor is free for the tail's files") from error
            return None  # not ours, or not whole: the log has it all
        with self._guard:
            for part in (None, *LANES):
                path = self._directory / _name(number, part)
                if path.exists():
                    self._sizes[path.name] = path.stat().st_size
        chunks = tuple(Chunk(lane, ranges, b) for lane, b in lanes.items() if b is not None)
        segment = self._segment(number, ranges, chunks, rejects, since_s)
        return replace(segment, missing_below=missing)

    def _load_lane(self, number: int, lane: Lane, about: dict[str, Any]) -> pa.RecordBatch | None:
        """The rows of a lane; None: its file was trimmed. Raises ValueError if it isn't whole."""
        rows = about["rows"][lane]
        if rows == 0:
            return no_rows(self._schema)
        path = self._directory / _name(number, lane)
        if not path.exists():
            return None
        batch, of_lane = _mapped(path, self._schema)
        if of_lane != about or batch.num_rows != rows:
            raise ValueError("the file belongs to another segment")
        return batch


def _name(number: int, lane: Lane | None) -> str:
    return f"{number:012d}.{_HEAD if lane is None else int(lane)}.arrow"


def _mapped(path: Path, schema: pa.Schema) -> tuple[pa.RecordBatch, Any]:
    """The batch of a file with exactly this schema, in mapped memory, and its description."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    batch = reader.get_batch(0)
    if not batch.schema.equals(schema):
        raise ValueError("another schema")
    about = json.loads((reader.schema.metadata or {})[_KEY.encode()])
    return batch.replace_schema_metadata(None), about
