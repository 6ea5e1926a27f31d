"""What the steps since the last line of the log add up to, and when too many were passed over."""

import json

import numpy as np
import pytest

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.runs.window import Window, close, refuse

FIELD = '--config.optimizer.learning_rate'


def step(nonfinite=0.0, **metrics):
    pairs = {name: (np.float32(value), np.float32(1)) for name, value in metrics.items()}
    return pairs | {'nonfinite': (np.float32(nonfinite), np.float32(1))}


def chunk(*flags):
    """The metrics of several steps, as a chunk returns them."""
    ones = np.ones(len(flags), np.float32)
    return {'nonfinite': (np.array(flags, np.float32), ones), 'loss': (ones * 2, ones)}


def settings(**fields):
    train = base_config().train
    train.update(on_nonfinite='skip', **fields)
    return train


def over(*taken):
    window = Window()
    for each in taken:
        window = window.added(each)
    return window


def test_means_are_over_steps_and_chunks_alike():
    window = over(step(loss=1.0), step(loss=2.5), chunk(0, 1, 0)).lasted(2.0, 0.25).lasted(0.5)
    assert window.steps == 5
    values = window.values()
    assert values['loss'] == (1.0 + 2.5 + 3 * 2) / 5
    assert values['nonfinite'] == window.skipped() == 1
    assert values['seconds_per_step'] == 0.5
    assert values['device_waiting'] == 0.25 * 2.0 / 2.5


def test_a_window_comes_back_from_json_to_the_last_bit():
    window = over(step(loss=0.1), step(loss=1 / 3), chunk(0, 1)).lasted(1 / 7)
    assert Window.from_json(json.loads(json.dumps(window.to_json()))) == window


@pytest.mark.parametrize(
    ('flags', 'in_a_row'),
    [([1, 1, 1], 3), ([1, 0, 1], 1), ([1, 1, 0], 0), ([0, 1, 1], 2)],
)
def test_steps_in_a_row_are_counted_within_chunks_and_across_windows(flags, in_a_row):
    one_by_one = over(*(step(flag) for flag in flags))
    assert over(chunk(*flags)).in_a_row == one_by_one.in_a_row == in_a_row
    after = one_by_one.closed()
    assert after == Window(in_a_row=in_a_row)
    assert after.added(step(1)).in_a_row == in_a_row + 1


def test_the_limit_is_reached_at_the_very_step():
    train, window = settings(nonfinite_limit=3), over(step(0), step(1), step(1))
    refuse(window, step(1), 2, train, FIELD)
    window = window.added(step(1))
    with pytest.raises(InputError, match=r'step 3: .* in 3 steps in a row .* lower --config\.opt'):
        refuse(window, step(1), 3, train, FIELD)


@pytest.mark.parametrize(
    ('flags', 'too_many'),
    [([1, 1, 0], True), ([1, 0], False), ([1, 1, 0, 0], False), ([1, 1], True), ([1], False)],
)
def test_more_than_half_of_several_steps_are_too_many(flags, too_many):
    window = over(*map(step, flags))
    if not too_many:
        assert close(window, 100, FIELD).steps == 0
        return
    with pytest.raises(InputError, match=f'in {sum(flags)} of the last {len(flags)} steps'):
        close(window, 100, FIELD)


def test_the_terminal_says_how_many_were_passed_over_and_whose(log):
    skipped = np.array([1, 0, 0], np.float32), np.array([1, 0, 0], np.float32)
    close(over(chunk(0, 1, 0) | {'discriminator_nonfinite': skipped}), 60, FIELD)
    close(over(step(0)), 61, FIELD)
    # Once each; a logger that propagates as well shows them twice.
    assert [*dict.fromkeys(record.getMessage() for record in log.records)] == [
        'steps 57 to 59: 1 of 3 updates were not applied, because their gradient was not finite.',
        'steps 57 to 59: 1 of 1 updates of the discriminator were not applied, because their '
        'gradient was not finite.',
    ]


def test_stopping_names_the_first_bad_step_of_a_chunk_and_whose_gradient_it_is():
    train = settings()
    train.on_nonfinite = 'stop'
    taken = chunk(0, 0, 1)
    with pytest.raises(InputError, match='step 9: the gradient is not finite'):
        refuse(over(taken), taken, 7, train, FIELD)
    taken = chunk(0, 0) | {'discriminator_nonfinite': (np.array([0, 1.0]), np.array([0, 1.0]))}
    with pytest.raises(InputError, match='step 8: the gradient of the discriminator is not'):
        refuse(over(taken), taken, 7, train, FIELD)
    refuse(over(taken), taken, 7, settings(), FIELD)  # passed over, and said when the window closes
