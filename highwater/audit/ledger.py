"""What was found: counts, findings in words, and how far the cuts of each server process went."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from highwater.audit.receipt import furthest, went_back
from highwater.audit.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.clock import Clock
    from highwater.audit.log_model import Cut

_FINDINGS_MAX = 50
_RECENT = 16  # snapshots
_COUNTED = {Verdict.GAP: "gaps", Verdict.DUPLICATE: "duplicates", Verdict.WRONG: "wrong"}
_OTHER = ("reasked", "reask_refused", "unavailable")
_BAD = ("gaps", "duplicates", "wrong", "regressions", "errors", "unproven")


class Ledger:
    """Written by readers, judge and injector; any thread."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._floors: dict[int, Cut] = {}
        self._last_s: float | None = None  # when the newest answer came
        self._silent_s = 0.0
        self._findings = 0
        self._snapshots: deque[int | None] = deque(maxlen=_RECENT)  # of compared answers

    def floor(self, server: int) -> Cut:
        """The cut that a statement to this server process, begun now, must reach."""
        with self._lock:
            return self._floors.get(server, {})

    def answered(self, server: int, floor: Cut, cut: Cut, sql: str) -> None:
        """An answer of this server process came; `floor` as it was when the statement began."""
        back = went_back(floor, cut)
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._floors[server] = furthest(self._floors.get(server, {}), cut)
            self._note_silence(now_s)
            self._last_s = now_s
        if back:
            self.found("regressions", f"the cut went back in {back}; {sql}")

    def judged(self, kind: str, verdict: Verdict, snapshot_id: int | None, words: str) -> None:
        """An answer was compared."""
        with self._lock:
            self._counts["answers"] += 1
            self._kinds[kind] += 1
            if snapshot_id not in self._snapshots:
                self._snapshots.append(snapshot_id)
        if verdict is not Verdict.EXACT:
            self.found(_COUNTED[verdict], words)

    def asked_again(self, verdict: Verdict, words: str) -> None:
        """An answer of before was asked for again by its receipt."""
        if verdict is Verdict.EXACT:
            with self._lock:
                self._counts["reasked"] += 1
        else:
            self.found(_COUNTED[verdict], words)

    def refused_again(self) -> None:
        """The rows of an answer of before are gone, and the server said so."""
        with self._lock:
            self._counts["reask_refused"] += 1

    def unavailable(self) -> None:
        """A statement was answered with UNAVAILABLE."""
        with self._lock:
            self._counts["unavailable"] += 1

    def fault(self, kind: str) -> None:
        """A fault was injected and its effect was seen."""
        with self._lock:
            self._faults[kind] += 1

    def found(self, what: str, words: str) -> None:
        """Something that must not be; said at once, though not for ever."""
        with self._lock:
            self._counts[what] += 1
            self._findings += 1
            number = self._findings
        if number <= _FINDINGS_MAX:
            self._say(f"FOUND {what}: {words}")

    def close(self) -> None:
        """No more answers are asked for."""
        with self._lock:
            self._note_silence(self._clock.monotonic_s())
            self._last_s = None

    def recent_snapshots(self) -> list[int | None]:
        """Snapshots that compared answers named, the newest ones."""
        with self._lock:
            return list(self._snapshots)

    @property
    def clean(self) -> bool:
        """Whether nothing was found so far."""
        with self._lock:
            return not any(self._counts[what] for what in _BAD)

    @property
    def answers(self) -> int:
        """How many were compared."""
        return self._counts["answers"]

    @property
    def last_answer_s(self) -> float:
        """When the newest answer came, on the monotonic clock."""
        return self._last_s or 0.0

    def result(self) -> dict[str, Any]:
        """All of it, for the last line."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("answers", *_BAD, *_OTHER)}
            return {
                **counts,
                "max_unavailable_s": round(self._silent_s, 3),
                "faults": dict(sorted(self._faults.items())),
                "questions": dict(sorted(self._kinds.items())),
            }

    def _note_silence(self, now_s: float) -> None:
        if self._last_s is not None:
            self._silent_s = max(self._silent_s, now_s - self._last_s)
