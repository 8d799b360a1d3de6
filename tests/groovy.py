"""The blocks of a Jenkinsfile: statements, strings and braces, all of Groovy that ours use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from steps import Mistake


@dataclass
class Block:
    """A statement, with the statements in its braces if it has any."""

    head: str
    inner: list[Block] = field(default_factory=list)

    @property
    def word(self) -> str:
        return re.split(r"[( ]", self.head)[0]

    def part(self, name: str) -> Block | None:
        return next((block for block in self.inner if block.word == name), None)


def parse(text: str) -> Block:
    """Return the pipeline in a Jenkinsfile; raises Mistake for braces and quotes left open."""
    text = re.sub(r"(^|\s)//.*", "", text)
    open_blocks, head, quote, depth = [Block("")], "", "", 0

    def ended() -> None:
        if head.strip():
            open_blocks[-1].inner.append(Block(" ".join(head.split())))

    for sign in text:
        if quote or sign in "'\"":
            quote = ("" if sign == quote else quote) if quote else sign
            if sign == "\n":
                raise Mistake(f"a quote is left open: {head.strip()}")
            head += sign
        elif not depth and sign == "{":
            block = Block(" ".join(head.split()))
            open_blocks[-1].inner.append(block)
            open_blocks.append(block)
            head = ""
        elif not depth and sign in "};\n":
            ended()
            head = ""
            if sign == "}":
                open_blocks.pop()
            if not open_blocks:
                raise Mistake("a brace too many")
        else:
            depth += (sign in "([") - (sign in ")]")
            head += sign
    if len(open_blocks) > 1 or depth:
        raise Mistake("a brace is left open")
    [pipeline] = open_blocks[0].inner
    return pipeline
