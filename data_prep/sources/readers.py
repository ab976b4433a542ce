"""One reader for each native format of a file that is read by itself."""

from collections.abc import Callable, Iterator

from ..documents.record import LeftOut, Record, Rejected
from ..documents.streams import SourceFile
from .formats.brat import read_brat
from .formats.conversations import CONVERSATIONS
from .formats.json_files.e3c import read_e3c
from .formats.json_files.frenchmedmcqa import read_frenchmedmcqa
from .formats.json_files.mediawiki import read_mediawiki
from .formats.json_files.translations import read_translations
from .formats.pdf import read_pdf
from .formats.published_rows import read_instructions
from .formats.text_files.moses import read_moses
from .formats.text_files.mqc import read_mqc
from .formats.text_files.prose_table import read_prose_table
from .formats.text_files.sentences import read_sentences
from .formats.xml_files.bioc import read_bioc
from .formats.xml_files.gsc import read_gsc
from .formats.xml_files.tei import read_tei
from .formats.xml_files.tmx import read_tmx
from .formats.xml_files.web_page import read_html
from .formats.xml_files.xmi import read_xmi

NATIVE: dict[str, Callable[[SourceFile], Iterator[Record | Rejected | LeftOut]]] = {
    "brat": read_brat,
    "bioc": read_bioc,
    "e3c": read_e3c,
    "frenchmedmcqa": read_frenchmedmcqa,
    "gsc": read_gsc,
    "html": read_html,
    "instructions": read_instructions,
    "mediawiki": read_mediawiki,
    "moses": read_moses,
    "mqc": read_mqc,
    "pdf": read_pdf,
    "prose_table": read_prose_table,
    "sentences": read_sentences,
    "tei": read_tei,
    "tmx": read_tmx,
    "translations": read_translations,
    "xmi": read_xmi,
    **CONVERSATIONS,
}
