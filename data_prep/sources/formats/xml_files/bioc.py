"""BioC XML: documents of passages, whole or in sentences; annotations, which repeat words of the text, are not read."""

from collections.abc import Iterator

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents.record import LeftOut, Record, Rejected, is_blank
from ....documents.streams import SourceFile
from .elements import children, elements, text_of


def read_bioc(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The documents of a file, by their `id`; of a document in several languages, the passages in that of `options`.

    Raises:
        FileError: it is not well-formed XML.
    """
    language = file.options.language
    for number, document in enumerate(elements(file, "document"), 1):
        identifier = next((text_of(each).strip() for each in children(document, "id")), "") or str(number)
        passages = children(document, "passage")
        spoken = [passage for passage in passages if _language(passage) in ("", language)]
        text = "\n".join(_text(passage) for passage in spoken)
        if passages and not spoken:
            yield LeftOut(f"documents without a passage in {language}")
        elif is_blank(text):
            yield Rejected(file.where, document.sourceline or number, f"the document {identifier} has no text")
        else:
            yield Record(f"{file.name}#{identifier}", text, {"doc_id": identifier}, file.split)


def _language(passage: etree._Element) -> str:
    stated = (text_of(infon) for infon in children(passage, "infon") if infon.get("key") == "language")
    return next(stated, "").strip().lower()[:2]


def _text(passage: etree._Element) -> str:
    whole = [text_of(each) for each in children(passage, "text")]
    sentences = [text_of(each) for sentence in children(passage, "sentence") for each in children(sentence, "text")]
    return " ".join(whole or sentences)
