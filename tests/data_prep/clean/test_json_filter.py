"""`pdapt corpus clean`: one JSON string a line in, one out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.clean.json_filter import clean_lines
from pdapt.data_prep.clean.profiles import PROFILES

NOTE = "SpO2<90% & 5–10 mg\nune hyper-\ntension\n© Revue"


def test_the_filter_answers_line_by_line() -> None:
    command = [sys.executable, "-m", "pdapt.cli.main", "corpus", "clean"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for text, expected in (("d\x92un\u2028mot", "d’un\nmot"), ("\ud83d5 mg", "5 mg"), ("", ""), ("a\nb", "a\nb")):
            process.stdin.write(json.dumps(text).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == expected
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_filter_takes_a_profile_and_keeps_the_default_s_values() -> None:
    lines = [json.dumps(text).encode() for text in (NOTE, "hyper-\ntension, hypertension")]
    paper, clinical = (list(map(json.loads, clean_lines(lines, PROFILES[name]))) for name in ("paper", "clinical"))
    assert paper == ["SpO2 & 510 mg\nune hyper-\ntension\n Revue", "hyper-\ntension, hypertension"]
    assert clinical == [NOTE, "hypertension, hypertension"]


@pytest.mark.parametrize(
    "line", [b"5 mg\n", b"5\n", b'{"text": "a"}\n', b"\n", b'"\xff"\n', b'"a" "b"\n', b"[" * 100_000, b"9" * 20_000]
)
def test_a_line_that_is_no_string(line: bytes) -> None:
    with pytest.raises(UserError, match="line 2 is not a JSON string") as caught:
        list(clean_lines([b'"a"\n', line], PROFILES["paper"]))
    assert "standard input, line 2" in str(caught.value)


def test_fuzz_lines(tmp_path: Path, fuzz: Callable[..., None]) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(
        "".join(json.dumps(text) + "\n" for text in (NOTE, "<b>5</b> mg", "http://x.fr/a", "\x85\xad\ufb01"))
    )

    def read() -> None:
        for name in PROFILES:
            list(clean_lines(path.read_bytes().splitlines(), PROFILES[name]))

    fuzz(path, read, share=4, places=False)
