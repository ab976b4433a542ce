"""Licences: the one that a document, a user or a source names, as SPDX has it, and what it allows."""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Terms:
    """Terms that a licence's name or address stands for.

    Attributes:
        spdx: its SPDX identifier; empty where SPDX lists none, or the name does not say which version.
        url: its text; empty where that is not known.
        commercial: whether it allows commercial use; None where the name does not tell.
    """

    spdx: str = ""
    url: str = ""
    commercial: bool | None = None


NON_COMMERCIAL = re.compile(r"(?i)(?<![a-z])(?:by[-_ ]?)?nc(?![a-z])|non[-_ ]?commercial")
"""Words of a licence that allows no commercial use: CC BY-NC and the like."""
ETALAB = "https://www.etalab.gouv.fr/licence-ouverte-open-licence/"
OTHERS = {
    "apache-2.0": Terms("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True),
    "mit": Terms("MIT", "https://opensource.org/license/mit", True),
    "cc0-1.0": Terms("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", True),
    "pddl-1.0": Terms("PDDL-1.0", "https://opendatacommons.org/licenses/pddl/1-0/", True),
    "odbl-1.0": Terms("ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/", True),
    "gfdl-1.3": Terms("GFDL-1.3-or-later", "https://www.gnu.org/licenses/fdl-1.3.html", True),
    "gfdl-1.3-or-later": Terms("GFDL-1.3-or-later", "https://www.gnu.org/licenses/fdl-1.3.html", True),
    "gfdl-1.3-only": Terms("GFDL-1.3-only", "https://www.gnu.org/licenses/fdl-1.3.html", True),
    "eupl-1.2": Terms("EUPL-1.2", "https://eupl.eu/1.2/en/", True),
    "etalab-2.0": Terms("etalab-2.0", ETALAB, True),
}
"""SPDX identifier, or another name of the licence, in lower case -> terms."""
WORDS = (
    ("attribution", "by"),
    ("non-?commercial|(?:pas-d-|sans-)utilisation-commerciale|pas-d-usage-commercial", "nc"),
    ("no-?deriv(?:ative)?s?(?:-works)?|pas-de-modification", "nd"),
    ("share-?alike|partage-dans-les-m[eê]mes-conditions|partage-(?:a|à)-l-identique", "sa"),
)
"""Words of Creative Commons' names, and the letters that stand for them."""
CREATIVE_COMMONS = re.compile(
    r"(?<![a-z])(?:cc|creative-?commons(?:\.org)?(?:-licen[cs]es?)?)-?by(?P<terms>(?:-(?:nc|nd|sa))*)"
    r"(?:-v?(?P<version>[1-4]\.\d))?(?![a-z\d])"
)
CC0 = re.compile(r"(?<![a-z])cc-?0(?![\d.])|cc-?0-1\.0|publicdomain-zero|(?:creative-?commons|cc)-zero")
PUBLIC_DOMAIN = re.compile(r"public-?domain|domaine-public")
OPEN_LICENCE = re.compile(r"etalab|licence-ouverte|open-licen[cs]e")
RESERVED = re.compile(r"licences-copyright|all-rights-reserved|tous-droits-r[eé]serv[eé]s")
EXCLUDED = re.compile(r"(?<![a-z])nc(?![a-z])|commercial")
"""Words that exclude commercial use; a name that speaks of it without being a known one is not taken to allow it."""
SEVERAL = re.compile(r"-(?:or|ou|and|et)-(?!later)|[;|]")


@lru_cache(4096)
def terms_of(licence: str) -> Terms:
    """Terms of a licence by its name, its SPDX identifier or its address; those of a name that is not known are empty.

    Of a name that stands for several licences no more is known than that it excludes commercial use, where it does.
    """
    address = licence.strip() if re.match(r"https?://\S+$", licence.strip()) else ""
    plain = re.sub(r"[^\w.;|]+|_", "-", licence.lower()).strip("-.")
    for words, letters in WORDS:
        plain = re.sub(words, letters, plain)
    several = not address and SEVERAL.search(plain)
    named = None if several else OTHERS.get(plain) or _creative_commons(plain) or _open(plain)
    if named is None or (named.commercial and EXCLUDED.search(plain)):
        return Terms(
            url=address, commercial=False if NON_COMMERCIAL.search(licence) or "nc" in plain.split("-") else None
        )
    return Terms(named.spdx, named.url or address, named.commercial)


def _creative_commons(plain: str) -> Terms | None:
    if match := CREATIVE_COMMONS.search(plain):
        has = set(match["terms"].split("-"))
        kind = "-".join(["by", *(term for term in ("nc", "nd", "sa") if term in has)])
        version = match["version"]
        spdx = f"CC-{kind.upper()}-{version}" if version else ""
        place = f"{kind}/{version}" if version else kind
        return Terms(spdx, f"https://creativecommons.org/licenses/{place}/", "nc" not in has)
    return OTHERS["cc0-1.0"] if CC0.search(plain) else None


def _open(plain: str) -> Terms | None:
    if OPEN_LICENCE.search(plain):
        return Terms("etalab-2.0" if re.search(r"(?<![\d.])2\.0", plain) else "", ETALAB, True)
    if PUBLIC_DOMAIN.search(plain):
        return Terms(commercial=True)
    return Terms(commercial=False) if RESERVED.search(plain) else None
