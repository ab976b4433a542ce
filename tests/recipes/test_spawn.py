"""What a failed trainer's log is cut down to."""

from pathlib import Path

import pytest

from pdapt.recipes.spawn import fail

LOST = "RuntimeError: [gloo/transport/tcp/pair.cc:525] Connection closed by peer [127.0.0.1]:4242"
OWN = "ValueError: the shard is of another length"


@pytest.mark.parametrize(("first", "second"), [(LOST, OWN), (OWN, LOST)])
def test_the_rank_whose_error_is_its_own_is_shown(first: str, second: str, tmp_path: Path) -> None:
    """Whichever writes first: here both write line by line."""
    lines = ["[rank1]: Traceback (most recent call last):", "[rank0]: Traceback (most recent call last):"]
    lines += [f"[rank1]: {first}", f"[rank0]: {second}", "E1128 torch/distributed/elastic/multiprocessing/api.py:1] x"]
    (tmp_path / "train.log").write_text("\n".join(lines))
    with pytest.raises(RuntimeError) as error:
        fail(1, tmp_path / "train.log", 0)
    assert OWN in str(error.value)
    assert "Connection closed" not in str(error.value)


def test_where_all_have_lost_the_connection_the_first_is_shown(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(f"[rank0]: {LOST}\n[rank1]: {LOST} too\n")
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        fail(1, tmp_path / "train.log", 0)


def test_an_error_before_there_are_ranks_is_shown(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(f"Traceback\n{OWN}\nW elastic/multiprocessing/api.py closing\n")
    with pytest.raises(RuntimeError, match="another length"):
        fail(1, tmp_path / "train.log", 0)
