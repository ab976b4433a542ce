"""Conversations, as instruction data has them: rows of `messages`, or of `instruction`, `input` and `output`.

A conversation goes through the stages as a text: what each message says, after a character that stands for its role.
These characters are white space to whoever counts words, and no message holds one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...documents.formats import json_items
from ...documents.record import BadDocumentError, Record, Rejected, is_blank, require_unicode, stated_of
from ...documents.streams import SourceFile
from .published_rows import INPUT, INSTRUCTION, OUTPUT, is_parquet, parquet_rows, text_part

MESSAGES, INSTRUCTION_TUNING = "messages", "instruction-tuning"
USER, ASSISTANT = "user", "assistant"
ROLES = {"system": "\x1c", USER: "\x1d", ASSISTANT: "\x1e"}
"""Role of a message -> the character that its text begins with."""
REASONING = "\x1f"
"""Stands before what the assistant thinks before it answers."""
RESERVED = re.compile("[\x00\x1c-\x1f]")
"""Characters that no message may hold: those above, and the one that marks a control token's text."""
READ = ("role", "content", "reasoning_content")
"""Fields of a message that are read; others have to be empty."""
RENDERED = ("tools", "chat_template_kwargs")
"""Fields of a row that TRL hands to the template, which pdapt does not."""
_MESSAGE = re.compile(f"([{''.join(ROLES.values())}])([^{''.join(ROLES.values())}]*)")


@dataclass(frozen=True)
class Message:
    """A turn of a conversation.

    Attributes:
        role: one of ROLES.
        content: the text.
        reasoning: what the assistant thinks before; None where nothing is said of it.
    """

    role: str
    content: str
    reasoning: str | None = None

    def to_json(self) -> dict[str, str]:
        """As chat templates and TRL have it."""
        values = {"role": self.role, "content": self.content}
        return values if self.reasoning is None else values | {"reasoning_content": self.reasoning}


def as_text(messages: list[Message]) -> str:
    """A conversation as a text."""
    thought = ("" if each.reasoning is None else REASONING + each.reasoning for each in messages)
    return "".join(ROLES[each.role] + each.content + after for each, after in zip(messages, thought, strict=True))


def of_text(text: str) -> list[Message]:
    """The conversation that `as_text` made a text of."""
    roles = {mark: role for role, mark in ROLES.items()}
    messages = []
    for mark, said in _MESSAGE.findall(text):
        content, thinks, reasoning = said.partition(REASONING)
        messages.append(Message(roles[mark], content, reasoning if thinks else None))
    return messages


def read_messages(file: SourceFile) -> Iterator[Record | Rejected]:
    """A row a conversation: `messages`, a list of objects with `role` and `content`.

    Raises:
        FileError: the file is damaged, or neither Parquet nor JSON.
    """
    return _read(file, messages_of)


def read_instruction_tuning(file: SourceFile) -> Iterator[Record | Rejected]:
    """A row a question and its answer: `instruction` and `input`, and `output`, as PARCOMED and Alpaca have them.

    Raises:
        FileError: as of `read_messages`.
    """
    return _read(file, turns_of)


CONVERSATIONS: dict[str, Callable[[SourceFile], Iterator[Record | Rejected]]] = {
    MESSAGES: read_messages,
    INSTRUCTION_TUNING: read_instruction_tuning,
}
"""Formats of conversations, as --format names them."""


FIELDS_OF = {MESSAGES: {MESSAGES}, INSTRUCTION_TUNING: {INSTRUCTION, OUTPUT}}
"""Format -> fields by which such rows are known where documents are expected."""


def _read(file: SourceFile, messages: Callable[[Mapping[str, Any]], list[Message]]) -> Iterator[Record | Rejected]:
    def record(row: Any, number: int) -> Record:
        if not isinstance(row, Mapping):
            raise BadDocumentError("not an object")
        text = as_text(messages(row))
        return Record(f"{file.name}#{number}", text, stated_of(row, INPUT), file.split)

    if not is_parquet(file):
        yield from json_items(file, record)
        return
    for number, row in enumerate(parquet_rows(file), 1):
        try:
            yield record(row, number)
        except BadDocumentError as error:
            yield Rejected(file.where, number, str(error))


def messages_of(row: Mapping[str, Any]) -> list[Message]:
    """The conversation of a row of messages.

    Raises:
        BadDocumentError: it is none, has no answer, or holds what is not read; says which message.
    """
    given = row.get(MESSAGES)
    if not isinstance(given, list) or not given:
        what = f"{MESSAGES!r} is {type(given).__name__}, not a list" if MESSAGES in row else f"there is no {MESSAGES!r}"
        raise BadDocumentError("no message" if given == [] else f"{what}; there are: {', '.join(map(str, row))[:200]}")
    for name in RENDERED:
        if row.get(name):
            raise BadDocumentError(f"the conversation has {name!r}, which are not rendered")
    messages = [_message(each, number) for number, each in enumerate(given, 1)]
    if all(each.role != ASSISTANT for each in messages):
        raise BadDocumentError("no answer: no message is the assistant's")
    return messages


def _message(value: Any, number: int) -> Message:
    where = f"message {number}"
    if not isinstance(value, Mapping):
        raise BadDocumentError(f"{where} is {type(value).__name__}, not an object with role and content")
    further = [str(name) for name, held in value.items() if name not in READ and held not in (None, "", [], {})]
    if further:
        raise BadDocumentError(f"{where} has {', '.join(further)[:60]}, which is not read; read are {', '.join(READ)}")
    role, content, reasoning = (value.get(name) for name in READ)
    if not isinstance(role, str) or role not in ROLES:
        raise BadDocumentError(f"{where} has the role {str(role)[:30]!r}, not {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise BadDocumentError(f"the content of {where} is {type(content).__name__}, not text")
    if reasoning and (role != ASSISTANT or not isinstance(reasoning, str)):
        raise BadDocumentError(f"reasoning_content of {where} is not the text of an assistant's thoughts")
    message = Message(role, content, reasoning or None)
    _check_text(message, f"{where} ({role})")
    return message


def turns_of(row: Mapping[str, Any]) -> list[Message]:
    """The question and the answer of a row of PARCOMED's instruction layout.

    Raises:
        BadDocumentError: one of them is missing, or not text.
    """
    if OUTPUT not in row or not {INSTRUCTION, INPUT} & row.keys():
        there = ", ".join(map(str, row))[:200]
        raise BadDocumentError(f"a row without {INSTRUCTION!r} or {INPUT!r} and {OUTPUT!r}; there are: {there}")
    parts = [text_part(row, name) for name in (INSTRUCTION, INPUT)]
    question = Message(USER, "\n\n".join(part for part in parts if not is_blank(part)))
    answer = Message(ASSISTANT, text_part(row, OUTPUT))
    _check_text(question, "the question")
    _check_text(answer, f"no answer: {OUTPUT!r}")
    return [question, answer]


def _check_text(message: Message, what: str) -> None:
    for text in filter(None, (message.content, message.reasoning)):
        require_unicode(text, what)
        if reserved := RESERVED.search(text):
            raise BadDocumentError(f"{what} holds the control character U+{ord(reserved[0]):04X}")
    if is_blank(message.content):
        raise BadDocumentError(f"{what} is empty")
