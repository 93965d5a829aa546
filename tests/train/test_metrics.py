import itertools
import math

import pytest
import torch

from autovid.train.accuracy import ViewAverage, accuracy


def table(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_views_are_averaged_as_probabilities_not_as_logits() -> None:
    """The mean of the probabilities of two views."""
    average = ViewAverage(1, 3)
    average.add(table([0.5, 0.5, 1e-9]).log(), torch.tensor([0]))
    average.add(table([0.4, 0.6, 1e-9]).log(), torch.tensor([0]))
    probabilities, seen = average.probabilities()
    assert torch.allclose(probabilities, table([0.45, 0.55, 0.0]), atol=1e-8)  # the 1e-9 of the third; float64
    assert seen.tolist() == [0]


def test_one_confident_view_outweighs_by_its_probability_alone() -> None:
    average = ViewAverage(1, 2)
    average.add(table([50.0, 0.0], [0.0, 1.0], [0.0, 1.0]), torch.tensor([0, 0, 0]))
    probabilities, _ = average.probabilities()
    assert probabilities[0, 0] == pytest.approx((1 + 2 * 0.26894) / 3, abs=1e-5)  # as written; logits give all but 1


def test_the_order_and_grouping_of_views_do_not_matter() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    video = torch.tensor([2, 0, 0, 2, 2, 0])
    results = []
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
        average = ViewAverage(3, 4)
        for chunk in (list(order[:1]), list(order[1:])):
            average.add(logits[chunk], video[chunk])
        results.append(average.probabilities())
    # Sums of three numbers below 1, in float64 and in any order.
    assert all(torch.allclose(probabilities, results[0][0], rtol=0, atol=1e-15) for probabilities, _ in results)
    assert results[0][1].tolist() == [0, 2]  # video 1 was never seen


def test_top_1_and_top_5() -> None:
    probabilities = table([0.3, 0.2, 0.15, 0.14, 0.11, 0.1], [0.3, 0.2, 0.15, 0.14, 0.11, 0.1])
    assert accuracy(probabilities, torch.tensor([0, 5]))[:3] == (50.0, 50.0, 2)
    assert accuracy(probabilities, torch.tensor([1, 4]))[:3] == (0.0, 100.0, 2)


def test_the_loss_is_the_mean_logarithm_of_the_right_class() -> None:
    probabilities = table([0.5, 0.5, 0.0], [0.25, 0.5, 0.25])
    assert accuracy(probabilities, torch.tensor([0, 2])).loss == pytest.approx(1.5 * math.log(2))  # as written
    assert accuracy(probabilities, torch.tensor([2, 2])).loss < math.inf
    assert accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).loss == 0


def test_top_5_of_five_classes_says_nothing() -> None:
    assert accuracy(table([0.6, 0.1, 0.1, 0.1, 0.1]), torch.tensor([0]))[:3] == (100.0, None, 1)


def test_a_network_that_cannot_tell_classes_apart_gets_nothing() -> None:
    assert accuracy(torch.full((3, 10), 0.1), torch.tensor([0, 4, 9]))[:3] == (0.0, 0.0, 3)


def test_no_videos() -> None:
    assert accuracy(torch.zeros(0, 10), torch.zeros(0, dtype=torch.int64))[:3] == (0.0, 0.0, 0)


def test_confusion_counts_first_guesses_by_class() -> None:
    probabilities = table([0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3])
    result = accuracy(probabilities, torch.tensor([0, 1, 0, 1]))
    assert result.confusion_CC.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert result.of_classes() == [50.0, 50.0, None]
    assert result[:3] == (50.0, None, 4)
