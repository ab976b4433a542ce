"""A data set's description in Croissant 1.0, the JSON-LD that search engines and loaders read."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .hub_layout import CONFIG, published_schema

VERSION = "http://mlcommons.org/croissant/1.0"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The terms that Croissant 1.0 names, as its specification lists them."""
TYPES = {pa.string(): "sc:Text", pa.bool_(): "sc:Boolean", pa.int64(): "sc:Integer"}
DESCRIPTIONS = {
    "input": "the document's text",
    "source": "the source's name in the corpus",
    "document_type": "the kind of text",
    "subset": "the part of the source, as the document itself names it",
    "doc_id": "the publisher's id, or the file and its line",
    "licence": "the licence as it is stated",
    "spdx": "the licence's SPDX identifier, where there is one",
    "licence_url": "address of the licence's text",
    "licence_evidence": "where the licence is stated",
    "licence_conflict": "what contradicts the licence",
    "language": "ISO 639-1 code of the language",
    "url": "address of the document, or of its source",
    "date": "date of publication",
    "doi": "Digital Object Identifier",
    "origin": "the file that the text was read from, and its place there",
    "commercial": "whether commercial use is allowed; null where that is not known",
    "original_split": "the part of its own data set that the publisher put the document into",
    "words": "words of the text, between white space",
    "text_sha256": "SHA-256 of the text in UTF-8",
    "changes_made": "changes made to the text, and by which version",
}
"""Column -> its description, where its name does not say it."""


@dataclass(frozen=True)
class PublishedFile:
    """A shard: its path below the data set's folder, bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Described:
    """Facts about a data set for readers who look for one.

    Attributes:
        name: letters, digits, `-` and `_`.
        description: a sentence or two.
        version: of the data.
        licences: SPDX identifiers, or names of licences.
        url: its page.
        citation: what to cite; empty where nothing is named.
        published: the day, as ISO 8601 writes it; empty where it is not known.
    """

    name: str
    description: str
    version: str
    licences: tuple[str, ...]
    url: str
    citation: str = ""
    published: str = ""


def croissant(facts: Described, files: list[PublishedFile]) -> dict[str, Any]:
    """The description as JSON values; the shards' paths are relative to it."""
    stated = {"citeAs": facts.citation, "datePublished": facts.published}
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": facts.description,
        "conformsTo": VERSION,
        "license": list(facts.licences),
        "url": facts.url,
        "version": facts.version,
        "inLanguage": "fr",
        **{name: value for name, value in stated.items() if value},
        "distribution": [*map(_file, files), _set()],
        "recordSet": [_records()],
    }


def _file(file: PublishedFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file.sha256,
    }


def _set() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": CONFIG + "-shards",
        "name": CONFIG + "-shards",
        "description": "all shards",
        "encodingFormat": "application/x-parquet",
        "includes": f"{CONFIG}/*.parquet",
    }


def _records() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": CONFIG,
        "name": CONFIG,
        "description": "a document a record",
        "field": [_field(each) for each in published_schema()],
    }


def _field(column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{CONFIG}/{column.name}",
        "name": column.name,
        "description": DESCRIPTIONS.get(column.name, column.name),
        "dataType": TYPES[column.type],
        "source": {"fileSet": {"@id": CONFIG + "-shards"}, "extract": {"column": column.name}},
    }
