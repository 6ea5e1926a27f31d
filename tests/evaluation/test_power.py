"""What comparisons could detect, by their equations and by simulation."""

import dataclasses
import math

import numpy as np
import pytest

from qcrd_jax.evaluation.power import (
    Assumption,
    Design,
    detectable_difference,
    discordance,
    measured,
    planned,
    questions_needed,
    seeds_needed,
)
from qcrd_jax.evaluation.significance import mcnemar, paired_bootstrap, sign_test
from tests.evaluation.test_significance import correlated_runs, pair
from tests.support.simulated_runs import simulated_runs


def test_discordance_by_hand():
    assert discordance(*pair(5, 2, 1, 2)) == pytest.approx(0.3)
    first = np.array([[True, True, False], [True, False, False]])
    second = np.array([[False, True, False], [False, True, True]])
    # Means 1, 0.5, 0 and 0, 1, 0.5: squares 1, 0.25, 0.25.
    assert discordance(first, second) == pytest.approx(0.5)


@pytest.mark.parametrize(('questions', 'psi'), [(200, 0.2), (1221, 0.3), (50, 0.5), (9824, 0.01)])
def test_detectable_difference_solves_its_equation(questions, psi):
    delta = detectable_difference(questions, psi)
    right = 1.959964 * math.sqrt(psi) + 0.841621 * math.sqrt(psi - delta**2)
    assert math.sqrt(questions) * delta == pytest.approx(right, rel=1e-6)
    assert delta < psi


def test_detectable_difference_needs_as_much_discordance():
    # All discordant questions on one side: psi = delta, also where less was observed.
    delta = detectable_difference(200, 0.01)
    right = 1.959964 * math.sqrt(delta) + 0.841621 * math.sqrt(delta - delta**2)
    assert math.sqrt(200) * delta == pytest.approx(right, rel=1e-6)
    assert detectable_difference(200, 0.0) == delta
    assert detectable_difference(200, 0.0, seeds=5) == pytest.approx(delta / 5)


def test_detectable_difference_is_bounded_and_falls_with_the_questions():
    sizes = [0, 1, 3, 4, 6, 20, 100, 1000, 10**6]
    deltas = [detectable_difference(size, 1.0) for size in sizes]
    assert deltas[:3] == [1.0, 1.0, 1.0]
    assert deltas == sorted(deltas, reverse=True)
    assert deltas[-1] < 0.003


@pytest.mark.parametrize(('questions', 'psi'), [(200, 0.2), (1000, 0.25)])
def test_power_at_the_detectable_difference(questions, psi):
    delta = detectable_difference(questions, psi)
    rng = np.random.default_rng(4)
    shares = [(psi + delta) / 2, (psi - delta) / 2, 1 - psi]
    counts = rng.multinomial(questions, shares, 3000)
    detected = np.mean([sign_test(int(b), int(c)) < 0.05 for b, c, _ in counts])
    assert 0.73 < detected < 0.83  # the exact test loses a little of the normal one's 80 %


def test_power_over_several_seeds():
    rng = np.random.default_rng(5)
    runs = [correlated_runs(rng, 3, 300, gain=0.308) for _ in range(600)]
    difference = np.mean([first.mean() - second.mean() for first, second in runs])
    psi = float(np.mean([discordance(*each) for each in runs]))
    found = np.mean([mcnemar(*each) < 0.05 for each in runs])
    # The gain was chosen so that the true difference is about what the formula says.
    assert difference == pytest.approx(detectable_difference(300, psi, seeds=3), rel=0.06)
    assert 0.72 < found < 0.88


@pytest.mark.parametrize(('questions', 'psi'), [(200, 0.2), (1221, 0.3)])
def test_a_plan_of_one_seed_without_luck_is_the_paired_test(questions, psi):
    one = Assumption(0.7, psi, lasting=0.1 * psi, luck=0.0)
    assert planned(Design(questions, 1), one) == pytest.approx(
        detectable_difference(questions, psi)
    )


def test_a_plan_by_hand():
    # psi = 0.2, a fifth lasts; five seeds in five folds, luck of two points, 1000 questions.
    noise, luck = 0.16 / 5, 2 * 0.02**2 / 25 * 1000
    true, tested = 0.04 + noise + luck, 0.04 + noise * 2.6 + luck * 0.8
    delta = planned(Design(1000, 5, 5), Assumption(0.7, 0.2, 0.04, 0.02), comparisons=4)
    # 2.497705 is the normal distribution's 99.375 % point: 1 - 0.05 / 4 / 2.
    right = 2.497705 * math.sqrt(tested) + 0.841621 * math.sqrt(true - delta**2)
    assert math.sqrt(1000) * delta == pytest.approx(right, rel=1e-5)


def test_more_of_anything_detects_less_and_what_is_needed_is_the_least():
    assumption, design = Assumption.of_accuracy(0.7), Design(1000, 3, 5)
    base = planned(design, assumption)
    for fields in ({'questions': 2000}, {'seeds': 6}, {'folds': 10}):
        assert planned(dataclasses.replace(design, **fields), assumption) < base
    assert planned(design, assumption, comparisons=5) > base
    seeds = seeds_needed(0.03, design, assumption)
    assert planned(Design(1000, seeds, 5), assumption) <= 0.03
    assert planned(Design(1000, seeds - 1, 5), assumption) > 0.03
    questions = questions_needed(0.03, design, assumption)
    assert planned(Design(questions, 3, 5), assumption) <= 0.03
    assert planned(Design(questions - 1, 3, 5), assumption) > 0.03
    # What lasts cannot be averaged away by seeds, nor luck by questions.
    assert seeds_needed(0.01, design, assumption) == 0
    assert questions_needed(0.005, design, assumption) == 0


@pytest.mark.parametrize(
    ('design', 'comparisons'),
    [(Design(300, 1), 1), (Design(500, 3), 1), (Design(500, 2, folds=5), 4)],
)
def test_a_verdict_is_found_as_often_as_planned(design, comparisons):
    rng = np.random.default_rng(9)
    chance = {'lasting': 0.5, 'luck': 0.05}

    def answers(questions, seeds, **others):
        return simulated_runs(rng, seeds, questions, **others)

    # What holds of the runs, of many questions and of many runs.
    truth = measured(*answers(200_000, 2, lasting=0.5)[:2])
    luck = measured(*answers(20_000, 200, luck=0.05)[:2]).luck
    delta = planned(design, dataclasses.replace(truth, luck=luck), comparisons=comparisons)
    # The gain in logits that makes this difference in accuracy.
    logits = rng.normal(0.4, math.hypot(1.2, 0.5, 0.05), 200_000)
    gain = delta / 0.2
    for _ in range(4):
        gain *= delta / np.mean(1 / (1 + np.exp(-logits - gain)) - 1 / (1 + np.exp(-logits)))
    found = []
    for _ in range(400):
        first, second, fold = answers(
            design.questions, design.seeds, folds=design.folds, gain=gain, **chance
        )
        bootstrap = paired_bootstrap(first, second, folds=fold, resamples=500)
        p_value = max(bootstrap.p_value, mcnemar(first, second))
        found.append(p_value < 0.05 / comparisons)
    assert 0.72 < np.mean(found) < 0.88  # standard error 0.02


def test_what_runs_show_is_what_they_were_drawn_with():
    rng = np.random.default_rng(10)
    # A tenth of the questions only the first can answer, a tenth only the second; of 0.4 each run
    # answers a half; the others all runs answer. Two runs of one method disagree on 0.2.
    number = 20_000
    kind = np.arange(number) % 10
    chances = [
        np.select([kind == 0, kind == 1, kind < 6], [one, 1 - one, 0.5], 1.0) for one in (1.0, 0.0)
    ]
    first, second = (rng.random((4, number)) < chance for chance in chances)
    shown = measured(first, second)
    assert shown.right == pytest.approx(0.1 + 0.2 + 0.4, abs=0.01)
    assert shown.discordance == pytest.approx(0.2 + 0.2, abs=0.01)
    assert shown.lasting == pytest.approx(0.2, abs=0.01)
    assert shown.luck < 0.004
    lucky = measured(*simulated_runs(rng, 10, 4000, 5, luck=0.3)[:2], np.arange(4000) % 5)
    # A run's shift of 0.3 logits is that times the mean of p (1 - p), 0.19: 5.7 points.
    assert lucky.luck == pytest.approx(0.057, abs=0.012)


def test_one_seed_shows_no_luck():
    first, second = pair(6, 2, 1, 1)
    shown = measured(first, second)
    assert (shown.right, shown.discordance) == (pytest.approx(0.75), pytest.approx(0.3))
    assert (shown.lasting, shown.luck) == (pytest.approx(0.06), 0.01)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: detectable_difference(10, 1.5), 'discordance'),
        (lambda: detectable_difference(10, 0.5, power=0.2), 'power'),
        (lambda: planned(Design(10, 0), Assumption.of_accuracy(0.5)), 'seeds'),
        (lambda: measured(np.ones((1, 0), bool), np.ones((1, 0), bool)), 'questions'),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
