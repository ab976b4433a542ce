"""A conversation as the model's own chat template writes it, cut into texts and control tokens.

The template is rendered by transformers' function, in a process that can be ended (`core/hf/chat_rendering.py`). Then
each control token that the template wrote is its id, and all else is text, as everywhere in pdapt: a `<|im_end|>` that
somebody typed into a message ends no turn. Only `<think>` and `</think>` of the assistant's are control tokens wherever
they stand, since models write them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ....core.errors import UserError
from ....core.files import read_bytes, read_object
from ....core.hf.chat_rendering import MEMORY, SECONDS, JinjaTemplate, TemplateFault, prepare, render
from ....core.qwen3 import END_OF_TURN
from ...sources.formats.conversations import ASSISTANT, Message
from ..tokenizer import Vocabulary

START, END = "<|im_start|>", END_OF_TURN
"""Control tokens around a turn."""
THOUGHTS = ("<think>", "</think>")
JINJA, CONFIG = "chat_template.jinja", "tokenizer_config.json"
"""Files that may hold the template; the first counts, as in transformers."""
MARKED = re.compile(r"\{%-?\s*generation\b")
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
"""Tokens of the tokenizer's configuration that a template may name."""
_TYPED = re.compile("\0([0-9]+)\0")
"""Stands for the text of a control token in a message while the template is rendered."""


class RefusedConversationError(UserError):
    """The template refuses a conversation; `at` is its number, from 0, or None."""

    def __init__(self, fault: TemplateFault, where: Path) -> None:
        super().__init__(
            f"the chat template {fault.what}",
            where=str(where),
            allowed=f"one that writes each conversation within {SECONDS} s of CPU and {MEMORY / 2**30:.0f} GiB",
        )
        self.at = fault.at


@dataclass(frozen=True)
class Piece:
    """Part of a conversation.

    Attributes:
        text: the part as text.
        token: its id, of a control token; None where it is text.
        learned: whether it is part of an answer, with the token that ends it.
        skipped: bytes of the text before the answer: the turn's head.
    """

    text: str
    token: int | None
    learned: bool
    skipped: int = 0


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes:
        source: Jinja.
        where: the file that it is from.
        tokens: text of each control token -> its id.
        named: tokens of NAMED that the configuration states.
    """

    source: str
    where: Path
    tokens: dict[str, int]
    named: dict[str, str]

    def pieces(self, messages: list[Message]) -> list[Piece]:
        """A conversation in pieces, in their order.

        Raises:
            UserError: the template refuses the conversation, or does not write turns as Qwen3's does.
        """
        (rendered,) = self.rendered([messages])
        return self.pieces_of(rendered, messages)

    def pieces_of(self, rendered: str, messages: list[Message]) -> list[Piece]:
        """The pieces of a conversation that is rendered.

        Raises:
            UserError: the template does not write turns as Qwen3's does.
        """
        pieces = list(self._pieces(rendered))
        answers = sum(piece.learned and piece.text == END for piece in pieces)
        wanted = sum(each.role == ASSISTANT for each in messages)
        if answers != wanted:
            raise UserError(
                f"the chat template writes {answers} of a conversation's {wanted} answers between "
                f"{START}{ASSISTANT} and {END}",
                where=str(self.where),
                allowed="a template that writes turns as Qwen3's does",
            )
        return pieces

    def rendered(self, conversations: list[list[Message]]) -> list[str]:
        """Conversations as the template writes them, in a process of its own, which ends what would not.

        Raises:
            RefusedConversationError: the template refuses one, or takes too long or too much memory for it.
        """
        chats = [[self._plain(each).to_json() for each in messages] for messages in conversations]
        try:
            return render(chats, JinjaTemplate(self.source, self.named))
        except TemplateFault as fault:
            raise RefusedConversationError(fault, self.where) from None

    def _plain(self, message: Message) -> Message:
        """A message in which no text is a control token's."""
        kept = THOUGHTS if message.role == ASSISTANT else ()

        def hide(match: re.Match[str]) -> str:
            return match[0] if match[0] in kept else f"\0{self.tokens[match[0]]}\0"

        reasoning = message.reasoning
        return Message(
            message.role,
            self._control.sub(hide, message.content),
            None if reasoning is None else self._control.sub(hide, reasoning),
        )

    def _pieces(self, rendered: str) -> Iterator[Piece]:
        texts = {token: text for text, token in self.tokens.items()}
        head, learned = f"{ASSISTANT}\n", False
        begins = False
        for number, part in enumerate(self._control.split(rendered)):
            if number % 2:
                yield Piece(part, self.tokens[part], learned)
                learned, begins = learned and part != END, part == START
                continue
            text = _TYPED.sub(lambda match: texts[int(match[1])], part)
            skipped = len(head) if begins and text.startswith(head) else 0
            learned = learned or skipped > 0
            if text:
                yield Piece(text, None, learned, skipped)

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """The text of a control token, as one group: of several that begin alike, the longest."""
        return re.compile(f"({'|'.join(map(re.escape, sorted(self.tokens, key=len, reverse=True)))})")


def _text(path: Path) -> str:
    """A template's text.

    Raises:
        UserError: the file is none, or not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"the chat template is not UTF-8: {error}", where=str(path)) from None


def read_template(vocabulary: Vocabulary) -> ChatTemplate:
    """The chat template of a tokenizer.

    Raises:
        UserError: it has none or several, or one that marks the answers itself; or no tokens around turns.
    """
    folder = vocabulary.files[0].parent
    config: dict[str, Any] = read_object(folder / CONFIG).values if (folder / CONFIG).is_file() else {}
    where = folder / (JINJA if (folder / JINJA).is_file() else CONFIG)
    source = _text(where) if where.name == JINJA else config.get("chat_template")
    if not isinstance(source, str):
        raise UserError(
            "the tokenizer has several chat templates" if source else "the tokenizer has no chat template",
            where=str(where),
            allowed="one",
            fix=f"put the model's {JINJA} beside tokenizer.json",
        )
    if MARKED.search(source):
        raise UserError(
            "the chat template marks answers with {% generation %}, which pdapt does not read",
            where=str(where),
            fix="give the model's own: all turns of the assistant are learned",
        )
    tokens = {each["content"]: int(each["id"]) for each in vocabulary.definition.get("added_tokens", [])}
    if missing := [token for token in (START, END) if token not in tokens]:
        raise UserError(f"the tokenizer has no {' and no '.join(missing)}", where=str(vocabulary.files[0]))
    prepare()
    named = {name: text for name in NAMED if isinstance(text := config.get(name), str)}
    return ChatTemplate(source, where, tokens, named)
