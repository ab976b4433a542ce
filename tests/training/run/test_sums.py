"""Sums by name: means by data set, and one vector for all ranks."""

import pytest

from pdapt.training.run.sums import DataSums, StepSums, over_ranks


def test_means_are_over_the_tokens_that_count() -> None:
    sums = DataSums(losses=[6.0, 0.0, 20.0], counts=[3.0, 0.0, 5.0], squares=17.0)
    assert sums.tokens == 8
    assert sums.mean_loss == pytest.approx(26 / 8)
    assert sums.by_data_set(["a", "b", "c"]) == {"a": {"loss": 2.0, "tokens": 3}, "c": {"loss": 4.0, "tokens": 5}}


def test_names_have_to_be_as_many_as_data_sets() -> None:
    with pytest.raises(ValueError, match="zip"):
        DataSums([1.0], [1.0], 0.0).by_data_set(["a", "b"])


def test_ranks_add_up_one_vector_and_each_number_keeps_its_name() -> None:
    shares = [
        StepSums(DataSums([n, 2 * n], [3 * n, 4 * n], 5 * n), 6 * n, 7 * n, [8 * n], [9 * n], [10 * n])
        for n in (1.0, 100.0)
    ]
    exchanged: list[list[float]] = []

    def record(numbers: list[float]) -> list[float]:
        exchanged.append(numbers)
        return numbers

    over_ranks(shares[1], record)
    total = over_ranks(shares[0], lambda numbers: [a + b for a, b in zip(numbers, exchanged[0], strict=True)])
    assert len(exchanged) == 1
    assert total == StepSums(DataSums([101.0, 202.0], [303.0, 404.0], 505.0), 606.0, 707.0, [808.0], [909.0], [1010.0])
