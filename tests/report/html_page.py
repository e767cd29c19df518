"""A page of HTML, read as those see it who read it, and those who hear it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "use", "path", "circle", "rect", "br"}


class Page(HTMLParser):
    """Elements with their attributes in the order of the page, and the text of each; faults of the markup raise."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[tuple[str, int]] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in {tag}"
        assert tag != "p" or "p" not in [name for name, _ in self._open]
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append("")
        if tag not in VOID:
            self._open.append((tag, len(self.texts) - 1))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self._open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for _, index in self._open:
            self.texts[index] += data

    def found(self, *tags: str) -> list[tuple[dict[str, str], str]]:
        return [
            (element[1], text) for element, text in zip(self.elements, self.texts, strict=True) if element[0] in tags
        ]

    def values(self, *names: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements for name in names if name in attributes]

    @property
    def text(self) -> str:
        ((_, body),) = self.found("body")
        return body
