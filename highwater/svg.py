"""Drawings as SVG text: a white page with rectangles, lines and words. Pure."""

from __future__ import annotations

from html import escape

INK, SOFT, RULE = "#1f2328", "#57606a", "#d0d7de"
COLOURS = ("#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#cf222e")


class Drawing:
    """Things are drawn in the order in which they are added; lengths in pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'font-family="system-ui, sans-serif" font-size="13" role="img" '
            f'aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
        ]
        self.rect(0, 0, width, height, "#ffffff")

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none"
    ) -> None:
        """A rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        anchor: str = "start",
        fill: str = INK,
        size: float = 13,
        bold: bool = False,
    ) -> None:
        """Words whose baseline is at y."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" '
            f'font-size="{size:g}"{weight}>{escape(words, quote=False)}</text>'
        )

    def line(self, points: list[tuple[float, float]], stroke: str, width: float = 1) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        return "\n".join([*self._parts, "</svg>", ""])
