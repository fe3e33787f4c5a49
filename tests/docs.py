"""The documentation pages, and the commands and examples in them."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/geology.md", "docs/logs.md", "docs/models.md", "docs/operations.md",
         "docs/page.md", "docs/reading.md", "docs/scanning.md", "docs/serving.md",
         "deploy/README.md")  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A fenced block, or one command in it."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks(language: str) -> tuple[Example, ...]:
    """All fenced blocks of a language, in order of the pages."""
    examples = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.finditer(rf"(?ms)^```{language}\n(.*?)^```", text):
            line = text.count("\n", 0, block.start()) + 1
            examples.append(Example(page, line, block[1]))
    return tuple(examples)


@cache
def commands() -> tuple[Example, ...]:
    """The commands of all `sh` blocks, each on one line and without its comment."""
    examples = []
    for block in blocks("sh"):
        joined = re.sub(r"\\\n\s*", lambda cut: "\0" * cut[0].count("\n"), block.text)
        line = block.line
        for text in joined.splitlines():
            line += 1
            command = re.sub(r"(^|\s)#.*", "", text.replace("\0", "")).strip()
            if command:
                examples.append(Example(block.page, line, command))
            line += text.count("\0")
    return tuple(examples)
