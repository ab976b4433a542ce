"""The memory that the benchmarks of corpora and tokens look at, and the sum that tells documents apart."""

from subprocess import PIPE, Popen

import numpy as np
import psutil
import pytest

from pdapt.bench.corpus import corpus
from pdapt.bench.corpus.tokens import _fold, _memory


def test_memory_is_that_of_a_process_and_of_all_that_it_has_started() -> None:
    """A shell, its child and its grandchild, all of which wait for the same line."""
    nested = "sh -c 'sh -c \"echo; read line\"; true'; true"
    with Popen(["sh", "-c", nested], stdin=PIPE, stdout=PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        (child,) = psutil.Process(shell.pid).children()
        (grandchild,) = child.children()
        assert sorted(corpus._children(shell.pid)) == sorted([child.pid, grandchild.pid])
        each = [psutil.Process(pid).memory_full_info().pss for pid in (shell.pid, child.pid, grandchild.pid)]
        assert _memory(shell.pid) == pytest.approx(sum(each), rel=0.2)
    assert _memory(shell.pid) == corpus._resident(shell.pid) == 0, "it has ended"


def test_the_sum_of_documents_depends_on_each_but_not_on_their_order() -> None:
    documents = [[5, 6, 0], [0], [6, 5, 0], [7, 0], [5, 6, 0]]
    order = np.random.default_rng(0).permutation(len(documents))

    def fold(parts: list[list[int]]) -> int:
        return _fold(np.array([number for part in parts for number in part], np.int32), 0)

    assert fold(documents) == fold([documents[place] for place in order])
    others = [documents[:-1], [*documents, [0]], [[6, 5, 0], *documents[1:]], [[5, 0], [6, 0], *documents[1:]]]
    assert len({fold(each) for each in (documents, *others)}) == len(others) + 1
