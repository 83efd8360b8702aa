"""Rows of words as a table: for a terminal, or in Markdown. What callers and policies wrote cannot break out of it."""

from collections.abc import Sequence
from html import escape

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\|[]`*"})


def line(text: str) -> str:
    """One line: it must not look like a second one, or clear the screen above it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; nothing behind the last one."""
    cells = [[line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first row is its head."""
    lines = ["| " + " | ".join(map(in_markdown, row)) + " |" for row in rows]
    return [lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]]


def in_markdown(text: str) -> str:
    """Text that is only text in Markdown."""
    return escape(line(text), quote=False).translate(_MARKS)
