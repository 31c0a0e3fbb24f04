"""Which files a statement can need: the filters of its plan against the bounds of the manifests.

The engine would find the same out from the files' footers, but it opens every listed file for
that, in every statement. So a statement is planned twice: once with a scan of no files, to read
its filters out of the optimised plan, and then with the files that these filters leave.

Everything here errs on one side: what is not understood keeps the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BugError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datafusion.expr import Expr
    from datafusion.plan import LogicalPlan

    from flight_server.lake.snapshot import ColumnBounds, DataFiles

Filters = list[list["Expr"]]  # any of: all of
FiltersByScan = Mapping[str, Filters | None]  # by the scan's name; None: not known

_SCAN_LINE = re.compile(r"^\s*TableScan: ([^\s,]+)", re.MULTILINE)

# Bounds on the work that one statement's text can cause; beyond them files are kept.
_DEPTH_MAX = 32
_TERMS_MAX = 256
_LIST_MAX = 64

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def filters_by_scan(plan: LogicalPlan) -> dict[str, Filters | None]:
    """The filters of every table scan in an *optimised* plan, by the scan's name.

    A name's list has one entry per scan of it (a self join has two), and a row is needed if it
    meets all filters of any entry. None, like a missing name: not all scans of that name could be
    inspected (subqueries inside expressions hide theirs), so its files must not be pruned.
    """
    walked: dict[str, Filters] = {}
    pending = [plan]
    while pending:
        node = pending.pop()
        pending.extend(node.inputs())
        if node.display().startswith("TableScan: "):
            scan = node.to_variant()
            walked.setdefault(scan.table_name(), []).append(list(scan.filters()))
    # The text shows the plans of subqueries too. A literal may hold such a line as well: then
    # the count is too high, and nothing is pruned.
    printed = Counter(_SCAN_LINE.findall(plan.display_indent()))
    return {n: filters if printed[n] == len(filters) else None for n, filters in walked.items()}


def prune(files: DataFiles, filters: Filters | None) -> DataFiles:
    """The files that may hold a row which meets all filters of any entry of `filters`.

    May be none at all: a scan without files is a scan without rows.
    """
    return files if filters is None else files.take(needed(files, filters))


def covers(files: DataFiles, used: pa.BooleanArray, filters: Filters | None) -> bool:
    """Whether `used`, a mask over `files`, holds everything that `filters` needs.

    Two plans of one text need not have the same filters: now() has moved on. Check the second
    plan with this, and plan again with more files if it says no.
    """
    if filters is None:
        return bool(pc.all(used, min_count=0).as_py())
    missed = pc.and_(needed(files, filters), pc.invert(used))
    return not pc.any(missed, min_count=0).as_py()


def needed(files: DataFiles, filters: Filters | None) -> pa.BooleanArray:
    """One entry per file, without nulls: whether the file may hold a row that is asked for."""
    evaluator = _Evaluator(files)
    if filters is None:
        return evaluator.everything
    if not filters:
        raise BugError("filters of no scan: they cannot tell which files are needed")
    masks = [evaluator.all_of(conjunction) for conjunction in filters]
    return _combined(pc.or_, masks)


class _Evaluator:
    """Evaluates expressions over bounds instead of rows: true = the file may hold a match."""

    def __init__(self, files: DataFiles) -> None:
        self._files = files
        self.everything: pa.BooleanArray = pa.repeat(pa.scalar(True), len(files))

    def all_of(self, conjunction: Sequence[Expr]) -> pa.BooleanArray:
        """Files that may hold a row which meets every filter."""
        masks = [self._may_match(e, 0) for e in conjunction[:_TERMS_MAX]]
        return _combined(pc.and_, [self.everything, *masks])

    def _may_match(self, expr: Expr, depth: int) -> pa.BooleanArray:
        if depth > _DEPTH_MAX:
            return self.everything
        kind = expr.variant_name()
        if kind == "BinaryExpr":
            return self._binary(expr, depth)
        if kind == "InList":
            return self._in_list(expr)
        if kind in {"IsNull", "IsNotNull"}:
            return self._null_test(expr, is_null=kind == "IsNull")
        return self.everything

    def _binary(self, expr: Expr, depth: int) -> pa.BooleanArray:
        operator = expr.rex_call_operator()
        if operator in {"AND", "OR"}:
            terms = _terms(expr, operator)
            if terms is None:
                return self.everything
            masks = [self._may_match(t, depth + 1) for t in terms]
            return _combined(pc.and_ if operator == "AND" else pc.or_, masks)
        if operator not in _MIRRORED:
            return self.everything
        left, right = expr.rex_call_operands()
        if right.variant_name() == "Column":
            left, right, operator = right, left, _MIRRORED[operator]
        bounds = self._bounds(left)
        value = None if bounds is None else _literal(right, bounds.lower.type)
        if bounds is None or value is None:
            return self.everything
        return self._compared(bounds, operator, value)

    def _compared(self, bounds: ColumnBounds, operator: str, value: pa.Scalar) -> pa.BooleanArray:
        """Bounds are compared inclusively: those of texts are cut, zero has two signs."""
        masks = [pc.not_equal(bounds.null_count, self._files.rows)]
        if operator in {"=", "<", "<="}:
            masks.append(pc.less_equal(bounds.lower, value))
        # NaN is above every number for the engine, and in no bound.
        if operator in {"=", ">", ">="} and not pa.types.is_floating(bounds.upper.type):
            masks.append(pc.greater_equal(bounds.upper, value))
        return _combined(pc.and_, [_unknown_keeps(m) for m in masks])

    def _in_list(self, expr: Expr) -> pa.BooleanArray:
        column, *items = expr.rex_call_operands()
        bounds = self._bounds(column)
        if bounds is None or expr.to_variant().negated() or len(items) > _TERMS_MAX:
            return self.everything
        values = [_literal(item, bounds.lower.type) for item in items]
        if not values or any(v is None for v in values):
            return self.everything
        if len(values) > _LIST_MAX:
            together = pa.array([v.as_py() for v in values if v is not None], bounds.lower.type)
            least, greatest = pc.min(together), pc.max(together)
            above = self._compared(bounds, ">=", least)
            return pc.and_(above, self._compared(bounds, "<=", greatest))
        return _combined(pc.or_, [self._compared(bounds, "=", v) for v in values])

    def _null_test(self, expr: Expr, *, is_null: bool) -> pa.BooleanArray:
        (column,) = expr.rex_call_operands()
        bounds = self._bounds(column)
        if bounds is None:
            return self.everything
        without_match = pa.scalar(0, pa.int64()) if is_null else self._files.rows
        return _unknown_keeps(pc.not_equal(bounds.null_count, without_match))

    def _bounds(self, column: Expr) -> ColumnBounds | None:
        if column.variant_name() != "Column":
            return None
        return self._files.bounds(column.to_variant().name())


def _terms(expr: Expr, operator: str) -> list[Expr] | None:
    """The operands of a chain of one operator, None if it is too long."""
    terms: list[Expr] = []
    pending = [expr]
    for _ in range(2 * _TERMS_MAX):
        if not pending:
            return terms
        term = pending.pop()
        if term.variant_name() == "BinaryExpr" and term.rex_call_operator() == operator:
            pending.extend(term.rex_call_operands())
        else:
            terms.append(term)
    return None


def _literal(expr: Expr, kind: pa.DataType) -> pa.Scalar | None:
    """The literal as a value of `kind`, None if it is not one, is NULL, or would change."""
    if expr.variant_name() != "Literal":
        return None
    value = expr.python_value()
    if not isinstance(value, pa.Scalar) or not value.is_valid or not _same_family(value.type, kind):
        return None
    if pa.types.is_string_view(value.type):
        return pa.scalar(value.as_py(), kind)
    if pa.types.is_floating(kind):
        # NaN equals itself for the engine, and a narrower float would be another number.
        return value if value.type == kind and not pc.is_nan(value).as_py() else None
    try:
        return value.cast(kind)
    except pa.ArrowException:
        return None


def _same_family(one: pa.DataType, other: pa.DataType) -> bool:
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return (one.tz is None) == (other.tz is None)
    return any(test(one) and test(other) for test in _FAMILIES)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_text_view(kind)


def _is_text_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind))


_FAMILIES: tuple[Callable[[Any], bool], ...] = (
    _is_text,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date32,
)


def _unknown_keeps(mask: pa.ChunkedArray) -> pa.BooleanArray:
    return pc.fill_null(mask, True).combine_chunks()


def _combined(
    operation: Callable[[Any, Any], pa.BooleanArray], masks: Sequence[pa.BooleanArray]
) -> pa.BooleanArray:
    result = masks[0]
    for mask in masks[1:]:
        result = operation(result, mask)
    return result
