"""MQC's consultations: a file named `dialogues`, a turn a line, `d` the doctor's and `p` the patient's."""

import re
from collections.abc import Iterator

from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile, open_text

SPEAKERS = {"d": "Médecin", "p": "Patient"}
TURN = re.compile(r"([dp])\d+\s+(.*)")


def read_mqc(file: SourceFile) -> Iterator[Record | Rejected]:
    """The consultation of a file, each turn after its speaker."""
    turns = []
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if is_blank(line):
                continue
            match = TURN.match(line)
            if not match:
                allowed = "lines of 'd' (doctor) or 'p' (patient), a number, a blank and what is said"
                yield Rejected(file.where, number, f"a turn names no speaker; allowed: {allowed}")
                return
            turns.append(f"{SPEAKERS[match[1]]} : {match[2]}")
    if turns:
        yield Record(file.name, "\n".join(turns), split=file.split)
    else:
        yield Rejected(file.where, 0, "the file has no turn")
