"""Which documents are not clearly French, by the function words they use: cheap enough to ask of every document.

Of each document up to SAMPLES words are looked at, evenly spread over the whole of it. Short texts, tables and lists
have too few function words to tell: `identify.py` looks at all of their letters.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

SAMPLES = 48
AT_ONCE = 1024
"""Documents whose samples are looked at together: half a MB, which stays in a core's cache."""
FEWEST_BYTES = 120
"""Size of a document whose language is asked for: about 20 words."""
SLOT_BITS = 14
"""Bits that number the slots of the table in which function words are looked up."""
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
NOT_TOLD = "not told"
SCRIPT_SHARE = 0.15
"""Share of a text's bytes that begin a letter of another script than Latin: a third to a half where it is written in
one."""
FEWEST_LETTERS = 4
"""Letters of another script that a text in it has at least."""
FEWEST_VOTES = 4
LEAD = 1.3
"""A language needs at least this many votes more than French, and this many times as many."""
VERDICTS = (*FUNCTION_WORDS, OTHER_SCRIPT, NOT_TOLD)
_FRENCH, _OTHER_SCRIPT, _NOT_TOLD = (VERDICTS.index(verdict) for verdict in (FRENCH, OTHER_SCRIPT, NOT_TOLD))

BELOW = np.uint64(0x2121212121212121)
HIGHS = np.uint64(0x8080808080808080)
BLANKS = np.uint64(0x2020202020202020)
SECOND, STRAIGHT = np.uint64(0xFF00), np.uint64(ord("'") << 8)
SECOND_TO_FOURTH, CURLY = np.uint64(0xFFFFFF00), np.uint64(int.from_bytes("’".encode(), "little") << 8)
LEADS = np.zeros(256, bool)
LEADS[[*range(0xCE, 0xE2), *range(0xE3, 0xEE)]] = True
"""First bytes of UTF-8 letters that are not Latin: Greek, Cyrillic, Hebrew, Arabic, Indian and East Asian scripts."""


def _table() -> tuple[Words, npt.NDArray[np.uint8]]:
    """The words as numbers, sorted; and which languages have each, [words + 1, languages]: the last is not a word."""
    numbers: dict[int, int] = {}
    for place, words in enumerate(FUNCTION_WORDS.values()):
        for word in words.split():
            number = int.from_bytes(word.encode(), "little") | int.from_bytes(b" " * len(word.encode()), "little")
            numbers[number] = numbers.get(number, 0) | 1 << place
    keys = np.array(sorted(numbers), np.uint64)
    rows = [*(numbers[int(key)] for key in keys), 0]
    return keys, np.array([[row >> place & 1 for place in range(len(FUNCTION_WORDS))] for row in rows], np.uint8)


def _slots(keys: Words) -> tuple[np.uint64, npt.NDArray[np.int64]]:
    """An odd factor by which no two words have the same slot, and the slot of each.

    To look a number up takes a multiplication then, where a search in `KEYS` takes eight comparisons that no processor
    can predict.
    """
    draw = np.random.default_rng(0)
    while True:
        factor = draw.integers(2**64, dtype=np.uint64) | np.uint64(1)
        slots = _slot(keys, factor)
        if len(np.unique(slots)) == len(keys):
            return factor, slots


def _slot(words: Words, factor: np.uint64) -> npt.NDArray[np.int64]:
    return ((words * factor) >> np.uint64(64 - SLOT_BITS)).view(np.int64)


KEYS, LANGUAGES = _table()
FLAGS = np.ascontiguousarray(LANGUAGES.view(np.uint64).T)
"""`LANGUAGES`, eight of them a number, [languages / 8, words + 1]."""
FACTOR, _PLACES = _slots(KEYS)
SLOT_WORDS = np.zeros(2**SLOT_BITS, np.uint64)
SLOT_WORDS[_PLACES] = KEYS
SLOT_ROWS = np.full(2**SLOT_BITS + 1, len(KEYS), np.uint16)
SLOT_ROWS[_PLACES] = np.arange(len(KEYS))
"""Row of each slot's word in `LANGUAGES`; a slot more, which no word has."""
ONLY_OTHER = ((LANGUAGES[:, 0] == 0) & LANGUAGES.any(axis=1))[SLOT_ROWS]
"""Whether other languages have a slot's word and French does not."""
ONLY_FRENCH = ((LANGUAGES[:, 0] == 1) & ~LANGUAGES[:, 1:].any(axis=1))[SLOT_ROWS]
"""Whether French has a slot's word and no other language does."""
ELIDING = [list(FUNCTION_WORDS).index(language) for language in (FRENCH, "it", "ca")]


def not_clearly_french(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, str]]:
    """The documents that are in another language than French, with the language, and those that may be.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].

    Yields:
        Number of the document, rising; a key of FUNCTION_WORDS, OTHER_SCRIPT, or NOT_TOLD.
    """
    for first in range(0, len(offsets) - 1, AT_ONCE):
        for document, language in _of_some(values, offsets[first : first + AT_ONCE + 1]):
            yield first + document, language


def _of_some(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, str]]:
    sizes = np.diff(offsets)
    verdicts = np.full(len(sizes), _NOT_TOLD)
    long = np.flatnonzero(sizes >= FEWEST_BYTES)
    if len(long):
        verdicts[long] = _verdicts(values, offsets[long], sizes[long])
    for document in np.flatnonzero(verdicts != _FRENCH).tolist():
        yield document, VERDICTS[verdicts[document]]


def _verdicts(values: Bytes, begins: Offsets, sizes: Offsets) -> npt.NDArray[np.int64]:
    """The verdict on each document of at least FEWEST_BYTES, by its place in VERDICTS."""
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    places = (begins[:, None] + (sizes[:, None] - READ) * steps).astype(np.int64)
    eights = np.ndarray(len(values) - 7, np.uint64, values.data, strides=(1,))  # eight bytes from each
    here = eights[places]
    foreign = _count_true(LEADS.take(here.astype(np.uint8))) / SAMPLES >= SCRIPT_SHARE
    words, slots, reached = _sampled_words(eights, places, here)
    only_other, only_french = _count_true(ONLY_OTHER.take(slots)), _count_true(ONLY_FRENCH.take(slots))
    # No language is closer behind French than by the words that only French has, less those that it lacks.
    verdicts = np.where(only_french >= only_other + FEWEST_VOTES, _FRENCH, _NOT_TOLD)
    # A language is ahead of French by no more than the words that French lacks, and few French texts have so many.
    doubtful = np.flatnonzero(only_other >= FEWEST_VOTES)
    language = _leading(words[doubtful], SLOT_ROWS[slots[doubtful]], reached[doubtful])
    verdicts[doubtful] = np.where(language > 0, language, verdicts[doubtful])
    verdicts[foreign] = _OTHER_SCRIPT
    return verdicts


def _sampled_words(
    eights: Words, places: npt.NDArray[np.int64], here: Words
) -> tuple[Words, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The word after each place, [documents, SAMPLES].

    Args:
        eights: eight bytes from each place of the text as a number.
        places: of the samples.
        here: `eights` of them.

    Returns:
        Eight bytes from where the word begins; its slot, the last one if it is not a function word; whether there is a
        beginning of a word within eight bytes.
    """
    blank, _ = _first_blank(here)
    word = eights[places + (np.minimum(blank, 7) + 1)]
    length, before = _first_blank(word)
    key = (word | BLANKS) & before
    slot = _slot(key, FACTOR)
    known = (SLOT_WORDS.take(slot) == key) & (np.maximum(blank, length) < 8)
    return word, np.where(known, slot, 2**SLOT_BITS), blank < 8


def _leading(words: Words, rows: npt.NDArray[np.uint16], reached: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The language that is ahead of French in each document, by its place in FUNCTION_WORDS; 0 where none is."""
    # A byte of a sum is one language's votes, which are too few to carry into the next.
    votes = np.stack([flags[rows].sum(axis=1) for flags in FLAGS], axis=1).view(np.uint8)
    votes[:, ELIDING] += np.count_nonzero(_elided(words) & reached, axis=1).astype(np.uint8)[:, None]
    best = votes[:, 1:].argmax(axis=1) + 1
    most, french = votes[np.arange(len(rows)), best].astype(np.int64), votes[:, 0].astype(np.int64)
    return np.where((most >= french + FEWEST_VOTES) & (most >= LEAD * french), best, 0)


def in_another_script(text: Bytes) -> bool:
    """Whether a text, as UTF-8, is written in letters that are not Latin; a few are a symbol, as in TNFα."""
    return int(np.count_nonzero(LEADS[text])) >= max(SCRIPT_SHARE * len(text), FEWEST_LETTERS)


def _count_true(marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many samples of each document are marked: SAMPLES is a multiple of eight, so eight are counted at once."""
    return np.bitwise_count(marks.view(np.uint64)).sum(axis=1, dtype=np.int64)


def _elided(word: Words) -> npt.NDArray[np.bool_]:
    """Which words begin with a letter and an apostrophe, as l'eau and d'un do."""
    return ((word & SECOND) == STRAIGHT) | ((word & SECOND_TO_FOURTH) == CURLY)


def _first_blank(eight: Words) -> tuple[npt.NDArray[np.uint8], Words]:
    """Which of the eight bytes of each number is the first white space or control, 8 where none is; and a mask of those
    before it, of more than seven where none is."""
    marked = (eight - BELOW) & ~eight & HIGHS  # exact up to the lowest marked byte
    below = (marked - np.uint64(1)) & ~marked
    return np.bitwise_count(below) >> np.uint8(3), below >> np.uint64(7)
