"""report.html read back by a parser that is not ours, for the tests of its structure."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "path"}


class Page(HTMLParser):
    """The elements of a page with their attributes and text; what is not closed where it should be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.paths: list[tuple[str, ...]] = []  # of each element, the names of those around it
        self.texts: list[tuple[str, str]] = []  # innermost element and text
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.paths.append(tuple(self.open))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.paths.append(tuple(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def tags(self) -> list[str]:
        return [name for name, _ in self.elements]
