"""A long text in pieces that fit, cut where the text itself has borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: What the splitter is told of a piece: its room is 2, and one that fits may grow.
_FITS, _ROOM, _TOO_MUCH = 1, 2, 3


def pieces(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text in pieces, as few as fit from its beginning on; together they are the text.

    A piece ends before a heading, else between blocks (paragraphs, list items, code, tables), else
    between lines, sentences, words: at the first of these borders that leaves pieces that fit.
    A single character is a piece even if it does not fit. A text that grows at its end keeps its
    pieces but for the last ones.
    """
    if fits(text):
        return [text] if text else []
    from semantic_text_splitter import MarkdownSplitter  # only a worker has it

    splitter = MarkdownSplitter.from_callback(
        lambda piece: _FITS if fits(piece) else _TOO_MUCH, _ROOM, trim=False
    )
    return [part for piece in splitter.chunks(text) for part in _parted(piece, fits)]


def _parted(piece: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """A piece, in the middle of which the splitter saw no place to cut, in parts that fit."""
    if len(piece) < 2 or fits(piece):
        yield piece
        return
    middle = len(piece) // 2
    yield from _parted(piece[:middle], fits)
    yield from _parted(piece[middle:], fits)
