"""FrenchMedMCQA: an array of questions; a document is a question, its options and the right ones."""

from collections.abc import Iterator
from typing import Any

from ....documents.formats import json_items
from ....documents.record import BadDocumentError, Record, Rejected, require_unicode
from ....documents.streams import SourceFile


def read_frenchmedmcqa(file: SourceFile) -> Iterator[Record | Rejected]:
    """A question a document.

    Raises:
        FileError: the file is not JSON.
    """
    return json_items(file, lambda value, number: _record(value, number, file))


def _record(question: Any, number: int, file: SourceFile) -> Record:
    try:
        text = require_unicode(_text(question), "question")
        stated = {"doc_id": require_unicode(question["id"], "id")} if isinstance(question.get("id"), str) else {}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadDocumentError(
            f"question {number} is not as FrenchMedMCQA's, an object with question, answers {{letter: text}} and "
            f"correct_answers [letter]: {error}"
        ) from None
    return Record(f"{file.name}#{number}", text, stated, file.split)


def _text(question: dict[str, Any]) -> str:
    options = {letter: f"{letter.upper()}. {text}" for letter, text in question["answers"].items()}
    right = [options[letter] for letter in question["correct_answers"]]
    label = "Réponse" if len(right) == 1 else "Réponses"
    return "\n".join([question["question"], *options.values(), f"{label} : {' ; '.join(right)}"])
