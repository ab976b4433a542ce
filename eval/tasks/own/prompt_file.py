"""The words around a question: `prompt.txt` beside a file of questions, with a place for the question and its options.

Nothing in it is a program: braces other than the two places are text.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import UserError
from .text_file import decoded

PROMPT_FILE = "prompt.txt"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters of options; a question has no more options."""
_PLACES = re.compile(r"\{(question|options)\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt in three parts: the text before, between and after question and options."""

    before: str = ""
    between: str = "\n"
    after: str = "\nAnswer:"

    @staticmethod
    def read(data: bytes, path: Path) -> "Prompt":
        """The prompt of a file's bytes. White space at its ends does not count: the answer follows after a space.

        Raises:
            UserError: it is not UTF-8, or has not one place for the question and then one for the options.
        """
        parts = _PLACES.split(decoded(data, path).strip())
        if parts[1::2] != ["question", "options"]:
            places = ", ".join(f"{{{name}}}" for name in parts[1::2])
            raise UserError(
                f"the prompt has {places or 'no places'}",
                where=str(path),
                allowed="{question}, and after it {options}, once each; other text as you like",
            )
        return Prompt(*parts[::2])

    def render(self, question: str, options: tuple[str, ...]) -> str:
        """The prompt of a question: each option on a line of its own, after its letter."""
        lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
        return f"{self.before}{question}{self.between}{lines}{self.after}"
