"""Cleaning as a filter of JSON strings, one a line."""

import json
from collections.abc import Iterable, Iterator

from ...core import log
from ...core.errors import UserError
from .profiles import Profile, clean_alone
from .value_check import changed_values

SHOWN = 60
"""Characters of a wrong line that a message shows."""


def clean_lines(lines: Iterable[bytes], profile: Profile) -> Iterator[str]:
    """The texts of some lines, cleaned, as JSON strings; each by itself, as the only text of its source.

    Args:
        lines: a JSON string each, in UTF-8.
        profile: how they are cleaned.

    Raises:
        UserError: a line is not a JSON string.
    """
    for number, line in enumerate(lines, 1):
        text = _text(line, number)
        cleaned = clean_alone(profile, text)
        if profile.keeps_values and (values := changed_values(text, cleaned)):
            log.warn(f"line {number} is left unchanged: cleaning would change its {', '.join(sorted(values))}")
            cleaned = text
        yield json.dumps(cleaned, ensure_ascii=False)


def _text(line: bytes, number: int) -> str:
    try:
        text = json.loads(line)
    except (ValueError, RecursionError):  # json's own, UTF-8's, too many digits; too deep
        text = None
    if isinstance(text, str):
        return text
    raise UserError(
        f"line {number} is not a JSON string: {line[:SHOWN].decode(errors='replace').rstrip()}",
        where=f"standard input, line {number}",
        allowed='one JSON string a line, such as "5 mg\\n2 fois par jour"',
        fix="jq -R . FILE makes one of each line of a text file; jq -c .text FILE takes the field text of JSON Lines",
    )
