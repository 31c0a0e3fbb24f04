r"""SQL LIKE with `%`, `_` and the escape character `\`, without backtracking blow-up.

Clients send whole SQL texts as patterns (pandas does), so a regular expression built from the
pattern would be a way to stop the server. The two-pointer algorithm remembers only the last `%`:
its time is bounded by len(text) x the longest stretch between two `%`.
"""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is like `pattern`; case matters."""
    p = t = 0
    retry_p, retry_t = -1, 0  # where to go on after the last % took one more character
    while t < len(text):
        if p < len(pattern) and pattern[p] == "%":
            p += 1
            retry_p, retry_t = p, t
        elif width := _match_one(pattern, p, text[t]):
            p += width
            t += 1
        elif retry_p >= 0:
            retry_t += 1
            p, t = retry_p, retry_t
        else:
            return False
    return not pattern[p:].strip("%")


def _match_one(pattern: str, p: int, character: str) -> int:
    """How many characters of the pattern stand for `character`; 0 = it does not match."""
    if p >= len(pattern):
        return 0
    if pattern[p] == "\\" and p + 1 < len(pattern):
        return 2 if pattern[p + 1] == character else 0
    return 1 if pattern[p] in ("_", character) else 0


def narrow(pattern: str | None, names: set[str]) -> set[str]:
    """The `names` that match; None matches all.

    ADBC and Grafana pass a plain table name as a pattern and read the first row. So a pattern
    without `%` that is itself a name means only that name: `a_b` does not also return `axb`.
    """
    if pattern is None:
        return names
    if "%" not in pattern and pattern in names:
        return {pattern}
    return {name for name in names if matches(pattern, name)}
