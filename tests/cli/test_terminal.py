"""Whatever the terminal, the folder and the pipe: no traceback, no cut number, a sign of life."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import Said

from pdapt.cli import main as face
from pdapt.cli.terminal import prepare, print_side_by_side, print_table, use_utf8
from pdapt.core.system.os_errors import user_error

FIGURES = ["4,320", "1,234,567,890", "98.76%", "12.34"]


def pdapt(*arguments: object, pipe: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    command: list[str] = [sys.executable, "-m", "pdapt.cli.main", *map(str, arguments)]
    if pipe:
        command = ["bash", "-o", "pipefail", "-c", f'"$@" | {pipe}', "bash", *command]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | environment)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(command, done.returncode, out, err)


def test_version_short_help_and_completion_work(say: Callable[..., Said]) -> None:
    assert re.fullmatch(r"pdapt \d+\.\d+\S*\n", pdapt("--version").stdout)
    for verb in ([], ["tokens", "build"]):
        assert say(*verb, "-h").out == say(*verb, "--help").out != ""
    script = pdapt("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    assert "complete " in script
    assert "_PDAPT_COMPLETE" in script


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_is_no_failure_of_ours() -> None:
    done = pdapt("train", "qwen3_8b_cpt_48xh100_packed", "--dry-run", pipe="true")
    assert (done.returncode, done.stderr.replace("[", "").count("rror")) == (141, 0)


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["ascii", "C"])
def test_a_terminal_without_utf_8_shows_all_that_it_can(locale: str, tmp_path: Path) -> None:
    """`PYTHONIOENCODING=ascii`, and a locale in which even names of files are ASCII."""
    settings = {"PYTHONIOENCODING": locale}
    if locale == "C":
        settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    (tmp_path / "a.txt").write_text("Un texte.", encoding="utf-8")
    command = ["corpus", "build", f"a={tmp_path / 'a.txt'}", "--out", tmp_path / "été"]
    done = pdapt(*command, "--licence", "été ☀ 😀", **settings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "été" / "manifest.json").is_file()
    again = pdapt(*command, "--json", **settings)
    assert again.returncode == 2, "another licence: refused"
    assert "made by another run" in again.stderr


def test_names_of_files_that_are_not_utf_8_start_the_same_command_again_in_utf_8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "execv", lambda *command: started.append((*command, dict(os.environ))))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pdapt.cli.main", "--version"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    for name in ("PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "flags", SimpleNamespace(utf8_mode=0))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "utf-8")
    use_utf8()
    assert started == []
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    use_utf8()
    ((program, command, environment),) = started
    assert (program, command) == (sys.executable, [sys.executable, "-m", "pdapt.cli.main", "--version"])
    assert isinstance(environment, dict)
    assert (environment["PYTHONUTF8"], environment["PYTHONIOENCODING"]) == ("1", "latin-1")


def test_what_an_encoding_lacks_is_the_same_value_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    value, stream = "été ☀ 😀 \udcc3", io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    prepare()
    print(json.dumps(value, ensure_ascii=False), flush=True)
    assert json.loads(stream.buffer.getvalue()) == value  # type: ignore[attr-defined]


def test_only_the_first_package_that_is_slow_to_load_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    prepare()
    (announcer,) = sys.meta_path
    for name, said in (("json", ""), ("torch.nn", ""), ("torch", "loading torch"), ("scipy", ""), ("torch", "")):
        assert announcer.find_spec(name, None) is None, "it finds nothing itself"
        assert capsys.readouterr().err.partition("] ")[2].strip() == said, name
    assert sys.meta_path == []


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_no_number_is_cut_or_broken(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = ["data set", "documents", "tokens", "fill [%]", "tokens a word"]
    rows = [[f"train/medical-{n}_with_a_long_name", *FIGURES] for n in range(3)]
    print_table("Layout [packed], 2,048 slots a sequence", names, rows, section=2)
    out = capsys.readouterr().out
    for word in (*FIGURES, rows[0][0], "fill [%]", "[packed]"):
        assert word in out
    assert "…" not in out
    longest = max(len(line) for line in out.splitlines())
    assert longest <= max(width, len("Layout [packed], 2,048 slots a sequence"))


def test_where_output_is_no_terminal_rows_stay_on_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("T", ["model", *map(str, range(40))], [["m", *["1,234,567"] * 40]])
    assert any(line.count("1,234,567") == 40 for line in capsys.readouterr().out.splitlines())


def test_two_texts_stand_side_by_side_and_what_differs_is_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_side_by_side(("before", "after"), [([("5 mg", True), (" -", False)], [("5 mg", True)])])
    assert [
        [cell.strip() for cell in re.split("[┃│]", line)[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if re.search("[┃│]", line)
    ] == [["before", "after"], ["5 mg⟦ -⟧", "5 mg"]]


@pytest.mark.parametrize("place", ["/proc/out", "a.txt/out", "a.txt", "x" * 300, "loop/out", "small-disk/out"])
def test_a_place_that_cannot_be_written_to_is_named(
    place: str, say: Callable[..., Said], small_disk: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Un texte.")
    (tmp_path / "loop").symlink_to("loop")
    if place.startswith("small-disk"):
        small_disk("1m", "ro")
    said = say("corpus", "build", f"a={tmp_path / 'a.txt'}", "--out", tmp_path / place)
    assert said.code == 2, said.err
    assert Path(place).parts[-2 if place.endswith("/out") else -1][:200] in said.err
    assert (tmp_path / "a.txt").read_text() == "Un texte."


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.EMFILE, errno.EIO])
def test_errors_of_the_system_are_told_from_ours(number: int) -> None:
    mistake = user_error(OSError(number, os.strerror(number), "/data/x"))
    assert mistake is not None
    assert "/data/x" in str(mistake)
    assert os.strerror(number) in str(mistake)
    assert user_error(OSError(number, os.strerror(number))) is None, "no file is named: a defect of ours"
    assert user_error(OSError(errno.EINVAL, "Invalid argument", "/data/x")) is None
    own = Path(face.__file__).with_name("lost.yaml")
    assert (user_error(OSError(number, os.strerror(number), str(own))) is None) == (number == errno.ENOENT)


def test_a_package_that_is_missing_is_the_set_ups_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever verb needs it, and however deep in a room it is imported."""
    for name, code in (("mergekit.config", 2), ("pdapt.merge.gone", None), (None, None)):

        def fails(name: str | None = name, **_: object) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        monkeypatch.setattr(face, "app", fails)
        if code is None:
            with pytest.raises(ModuleNotFoundError):
                face._run()
            continue
        assert face._run() == code
        said = capsys.readouterr().err
        assert "the package mergekit cannot be loaded: No module named 'mergekit.config'" in said
        assert "install pdapt there again" in said


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(face, "app", fails)
    with pytest.raises(KeyError, match="a defect"):
        face.main()


def test_a_sign_of_life_comes_before_what_takes_long_to_load(tmp_path: Path) -> None:
    """The line is printed before torch is looked for, so it is there however slow the disk is."""
    (tmp_path / "torch.py").write_text("import sys; sys.stderr.write('TORCH\\n'); raise SystemExit(0)")
    done = pdapt("convert", "verify", tmp_path, tmp_path, PYTHONPATH=str(tmp_path))
    assert re.search(r"loading torch\n(.|\n)*TORCH", done.stderr), done.stderr
    assert "loading" not in pdapt("--help").stderr
