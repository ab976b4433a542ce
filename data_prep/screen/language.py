"""Which documents are not in French, by the function words they use: cheap enough to ask of every document.

Of each document up to SAMPLES words are looked at, evenly spread over the whole of it. Short texts, tables and lists
have too few function words to tell: they count as no other language.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

SAMPLES = 48
FEWEST_BYTES = 120
"""Of a document whose language is asked for: about 20 words."""
READ = 17
"""Bytes after a place that are read: eight to find the next word, a blank, eight of the word."""
FRENCH = "fr"
FUNCTION_WORDS = {
    FRENCH: "de la le les des et du en un une est dans pour par sur au aux avec pas qui que ne se ou ce il elle sont "
    "cette ces son sa ses nous vous mais plus être chez sans à lors leur leurs après on été même",
    "en": "the of and to in is that for it as was with be by on not he or are this at from but have an which you were "
    "had has been their will can should may if when no into these than such its",
    "es": "de la el los en que las del por con una un para se no su al es lo como más sus pero este ha sin sobre "
    "entre cuando muy esta son si puede fue ser desde también",
    "it": "di il la che un in per una non del con le della si da sono dei nel al più alla gli ha come dal delle ma "
    "anche lo nella se questo questa essere può tra ed ai",
    "pt": "de que do da em um para com não uma os no se na por mais as dos como mas ao das à foi são pelo pela "
    "ou ser quando também esta este sobre até sua seu",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
    "bei oder wird sind einer durch nach",
    "nl": "de van het een en in is dat op te zijn met voor niet aan er om ook als bij door naar uit wordt of worden "
    "maar deze dit kan",
    "ca": "de la el que en les els per del una amb un és no al es són dels més com",
    "ro": "și în de la cu pe nu este sau din care pentru mai fi sunt prin după un",
    "pl": "na do nie się że jest to od po jak przez dla oraz są lub przy",
    "cs": "na se je že do to pro jako nebo jsou po při by od",
    "sv": "och att det som en på är av för med till den har inte om ett de från eller kan vid",
    "da": "og at det er en til på som med for af den ikke har de et om fra eller kan ved",
    "fi": "ja on ei se että oli mutta tai kun joka ovat voi myös kuin hän",
    "hu": "az és hogy nem is egy ez meg volt vagy mint csak már ha azt",
    "tr": "ve bir bu ile için da de olarak daha çok gibi olan ya hem kadar",
}
"""Language -> its commonest words of up to seven bytes, those of several languages too; no single letters, which tables
have as codes."""
OTHER_SCRIPT = "another script"
SCRIPT_SHARE = 0.15
"""Of a text's bytes begin a letter of another script than Latin: a third to a half where it is written in one."""
FEWEST_VOTES = 4
LEAD = 1.3
"""A language has at least so many votes more than French, and so many times as many."""

BELOW = np.uint64(0x2121212121212121)
COUNTED = np.uint64(0x0001020304050607)
"""Its product with 256 to the n has n as the highest byte."""
HIGHS = np.uint64(0x8080808080808080)
BLANKS = np.uint64(0x2020202020202020)
MASKS = np.array([(1 << (8 * size)) - 1 for size in range(8)], np.uint64)
LEADS = np.zeros(256, bool)
LEADS[[*range(0xCE, 0xE2), *range(0xE3, 0xEE)]] = True
"""First bytes of UTF-8 letters that are not Latin: Greek, Cyrillic, Hebrew, Arabic, Indian and East Asian scripts."""


def _table() -> tuple[Words, npt.NDArray[np.uint8]]:
    """The words as numbers, sorted, and for each which languages have it, [words, languages]."""
    numbers: dict[int, int] = {}
    for place, words in enumerate(FUNCTION_WORDS.values()):
        for word in words.split():
            number = int.from_bytes(word.encode(), "little") | int.from_bytes(b" " * len(word.encode()), "little")
            numbers[number] = numbers.get(number, 0) | 1 << place
    keys = np.array(sorted(numbers), np.uint64)
    flags = np.array([[numbers[int(key)] >> place & 1 for place in range(len(FUNCTION_WORDS))] for key in keys])
    return keys, flags.astype(np.uint8)


KEYS, FLAGS = _table()
ELIDING = [list(FUNCTION_WORDS).index(language) for language in (FRENCH, "it", "ca")]


def other_languages(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, str]]:
    """The documents that are in another language than French, with the language.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].

    Yields:
        Number of the document; a key of FUNCTION_WORDS, or OTHER_SCRIPT.
    """
    sizes = np.diff(offsets)
    long = np.flatnonzero(sizes >= FEWEST_BYTES)
    if not len(long):
        return
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    places = (offsets[long, None] + (sizes[long, None] - READ) * steps).astype(np.int64)
    foreign = LEADS[values[places]].mean(axis=1) >= SCRIPT_SHARE
    votes = _votes(values, places)
    best = votes[:, 1:].argmax(axis=1) + 1
    most, french = votes[np.arange(len(long)), best], votes[:, 0]
    other = (most >= french + FEWEST_VOTES) & (most >= LEAD * french)
    names = list(FUNCTION_WORDS)
    for row in np.flatnonzero(foreign | other).tolist():
        yield int(long[row]), OTHER_SCRIPT if foreign[row] else names[best[row]]


def _votes(values: Bytes, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many of the words after `places`, [documents, SAMPLES], each language has, [documents, languages]."""
    eights = np.ndarray(len(values) - 7, np.uint64, values.data, strides=(1,))  # eight bytes from each
    flat = places.ravel()
    blank = _first_blank(eights[flat])
    word = eights[flat + np.minimum(blank, 7) + 1]
    length = _first_blank(word)
    usable = (blank < 8) & (length < 8)
    key = (word | BLANKS) & MASKS[np.where(usable, length, 0)]
    elided = (blank < 8) & _elided(word)
    at = np.minimum(np.searchsorted(KEYS, key), len(KEYS) - 1)
    hits = usable & (KEYS[at] == key)
    document = np.flatnonzero(hits) // places.shape[1]
    flags = FLAGS[at[hits]]
    votes = np.stack([np.bincount(document, column, len(places)).astype(np.int64) for column in flags.T], axis=1)
    elisions = np.bincount(np.flatnonzero(elided) // places.shape[1], minlength=len(places))
    votes[:, ELIDING] += elisions[:, None]
    return votes


def _elided(word: Words) -> npt.NDArray[np.bool_]:
    """Which words begin with a letter and an apostrophe, as l'eau and d'un do."""
    second = word >> np.uint64(8)
    curly = np.uint64(int.from_bytes("’".encode(), "little"))
    return ((second & MASKS[1]) == np.uint64(ord("'"))) | ((second & MASKS[3]) == curly)


def _first_blank(eight: Words) -> npt.NDArray[np.int64]:
    """Which of the eight bytes of each number is the first white space or control; 8 where none is."""
    marked = (eight - BELOW) & ~eight & HIGHS  # exact up to the lowest marked byte
    lowest = (marked & (~marked + np.uint64(1))) >> np.uint64(7)
    number = (lowest * COUNTED >> np.uint64(56)).view(np.int64)
    number[marked == 0] = 8
    return number
