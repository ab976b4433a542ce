"""A word a line, its values between tabs, an empty line between sentences: a document is a sentence's words."""

from collections.abc import Iterator, Sequence

from .....core.log import counted
from ....documents.record import LeftOut, Record, Rejected, is_blank
from ....documents.streams import SourceFile, open_text


def read_sentences_once(files: Sequence[SourceFile]) -> Iterator[Record | Rejected | LeftOut]:
    """The sentences of files that annotate the same text in different ways, each once, by file and sentence's number.

    Raises:
        FileError: a file cannot be unpacked or decoded.
    """
    seen: dict[str, str] = {}
    for file in files:
        for item in _sentences(file):
            if isinstance(item, Record) and seen.setdefault(item.text, file.name) != file.name:
                yield LeftOut(f"sentences that {seen[item.text]} has, too")
            else:
                yield item


def _sentences(file: SourceFile) -> Iterator[Record | Rejected]:
    """Sentences of one file; one with a line of too few values is damaged."""
    words: list[str] = []
    fault, identifier, number = "", "", 0
    options = file.options
    columns = max(options.columns, options.sentence + 1, options.word + 1)
    with open_text(file, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            values = line.rstrip("\r\n").split("\t")
            ends = is_blank(line) or (len(values) >= columns and values[options.sentence] != identifier)
            if ends and (words or fault):
                yield _sentence(file, identifier, words, fault, line=number - 1)
                words, fault = [], ""
            if is_blank(line):
                identifier = ""
            elif len(values) < columns:
                fault = fault or f"line {number} has {counted(len(values), 'value')} between tabs, fewer than {columns}"
            else:
                identifier = values[options.sentence]
                words.append(values[options.word])
        if words or fault:
            yield _sentence(file, identifier, words, fault, line=number)


def _sentence(file: SourceFile, identifier: str, words: list[str], fault: str, *, line: int) -> Record | Rejected:
    text = " ".join(words)
    if fault or is_blank(text):
        return Rejected(file.where, line, fault or "the sentence is empty")
    return Record(f"{file.name}#{identifier or line}", text, split=file.split)
