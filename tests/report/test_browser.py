"""The pages in a real Chromium, where one is installed (`tests/support/browser.py` says which)."""

import pytest

from qcrd_jax import files
from qcrd_jax.report import write_comparison, write_experiments, write_report
from qcrd_jax.report.tables import Cell, Outcome, Table
from tests.report.pages import write_run
from tests.report.test_comparison import write_pair
from tests.support.browser import Browser, executable

HOSTILE = '</script><img src=x onerror=alert(1)><script>document.title = "taken"</script>'
FILTERS = 'document.querySelector(".filters").getBoundingClientRect().height'  # pixels
ROWS, WRONG, UNLIKE, OF_PLUS = 2000, 200, 667, 1000


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    path = executable()
    if path is None:
        pytest.skip('no Chromium; set QCRD_CHROMIUM to one, or install one')
    with Browser(path, tmp_path_factory.mktemp('profile')) as browser:
        yield browser


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """The pages by name: of a run of 2000 questions, of two runs, and of a table."""
    folder = tmp_path_factory.mktemp('pages')
    write_run(folder / 'run')
    predictions = [
        {
            'id': f'q{i}',
            'input': f'How many are {i} and {"pearls" if i % 50 == 0 else "stones"}? {HOSTILE}',
            'label': f'{i} + 1' if i % 2 else f'{i} * 2',
            'prediction': 'a' * 300 if i == 0 else f'{i} + 1 {HOSTILE}',
            'rationale': f'It is {i}. {HOSTILE}',
            'correct': i % 10 != 0,
            'rationale_correct': i % 3 != 0,
            'rationale_answer': str(i),
        }
        for i in range(ROWS)
    ]
    files.write_jsonl(folder / 'run' / 'predictions.jsonl', predictions)
    launch = {'command': f'python run.py --config=x --name={"y" * 300}', 'commit': 'c' * 40}
    files.write_json(folder / 'run' / 'provenance.json', {'launches': [launch]})
    cells = (Cell('QCRD', 'mwp', 50.0, 1, (Outcome(0, 61.0),)),)
    table = Table('table1', 'A table', 'Small.', 'accuracy, %', ('QCRD',), ('mwp',), cells)
    return {
        'run': write_report(folder / 'run'),
        'comparison': write_comparison(*write_pair(folder / 'pair')),
        'experiments': write_experiments(folder / 'experiments', [table]),
    }


def choose(page, field, value):
    """Sets a filter as a person does."""
    page.evaluate(
        f'{{const box = document.querySelector(`.filters [name="{field}"], .filters {field}`);'
        f'box.value = {value!r}; box.dispatchEvent(new Event("input", {{bubbles: true}}));}}'
    )


def visible(page):
    """How many rows are on the screen, by their height and not by any attribute."""
    return page.evaluate(
        '[...document.querySelectorAll(".rows > tbody > tr")]'
        '.filter((row) => row.getBoundingClientRect().height > 0).length'
    )


@pytest.mark.parametrize('name', ['run', 'comparison', 'experiments'])
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [1280, 420])
def test_a_page_opens_fits_and_asks_for_nothing(browser, pages, name, dark, width):
    page = browser.open(pages[name], width=width, dark=dark)
    assert page.faults == []
    assert [url for url in page.requests if not url.startswith('data:')] == [pages[name].as_uri()]
    assert page.evaluate('document.documentElement.scrollWidth') == width
    figures = page.evaluate('[...document.images].map((image) => image.naturalWidth > 0)')
    assert all(figures)
    assert len(figures) == {'run': 14, 'comparison': 0, 'experiments': 1}[name]
    assert page.evaluate('document.title') != 'taken'


def test_filters_leave_the_rows_that_were_asked_for(browser, pages):
    page = browser.open(pages['run'])
    assert page.evaluate(FILTERS) > 20
    assert visible(page) == ROWS
    choose(page, 'answer', 'wrong')
    assert visible(page) == WRONG
    choose(page, 'rationale', 'wrong')
    assert visible(page) == 67  # multiples of 30 below 2000, 0 too
    choose(page, 'answer', '')
    assert visible(page) == UNLIKE
    choose(page, 'rationale', '')
    choose(page, 'group', '0')  # +
    assert visible(page) == OF_PLUS
    choose(page, 'group', '1')
    choose(page, 'input', 'PEARLS')  # multiples of 50, all of which are ×
    assert visible(page) == 40
    choose(page, 'input', 'pearls q1950')
    assert visible(page) == 1
    assert page.evaluate('document.querySelector("output").textContent') == '1 of 2,000'
    choose(page, 'input', HOSTILE)
    assert visible(page) == OF_PLUS
    choose(page, 'input', 'nothing says this')
    assert visible(page) == 0
    page.evaluate('document.querySelector(".filters button").click()')
    assert visible(page) == ROWS
    assert page.faults == []


def test_filters_of_two_runs(browser, pages):
    page = browser.open(pages['comparison'])
    assert visible(page) == 22
    choose(page, 'answer', 'A')
    assert visible(page) == 12
    choose(page, 'answer', '')
    choose(page, 'rationale', 'B')
    assert visible(page) == 4


def test_a_filter_of_2000_rows_takes_no_time(browser, pages):
    page = browser.open(pages['run'])
    start = 'const start = performance.now();'
    took = page.evaluate(
        f'(() => {{{start} const box = document.querySelector(".filters input"); box.value = "q1";'
        'box.dispatchEvent(new Event("input", {bubbles: true})); document.body.offsetHeight;'
        'return performance.now() - start;})()'
    )
    assert took < 2000  # milliseconds; 100 on a slow core


def luminance(page, selector, kind):
    """Of a colour as it is computed, 0 to 1."""
    colour = page.evaluate(f'getComputedStyle(document.querySelector({selector!r})).{kind}')
    red, green, blue = (int(part) for part in colour[4:-1].split(','))
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize('name', ['run', 'comparison', 'experiments'])
def test_dark_mode_turns_page_and_ink(browser, pages, name):
    light, dark = (browser.open(pages[name], dark=dark) for dark in (False, True))
    assert luminance(light, 'body', 'backgroundColor') > 0.99
    assert luminance(light, 'h2', 'color') < 0.2
    assert luminance(dark, 'body', 'backgroundColor') < 0.12
    assert luminance(dark, 'h2', 'color') > 0.8
    if name != 'comparison':
        filters = [page.evaluate('getComputedStyle(document.images[0]).filter')
                   for page in (light, dark)]  # fmt: skip
        assert filters == ['none', 'invert(1) hue-rotate(180deg)']


def test_a_score_is_dark_on_its_background_in_the_dark_too(browser, pages):
    page = browser.open(pages['run'], dark=True)
    assert luminance(page, '.rationale.scored', 'backgroundColor') > 0.7
    assert luminance(page, '.rationale.scored .text', 'color') < 0.2
    assert luminance(page, '.rationale.scored .score', 'color') < 0.2


def test_without_a_script_all_rows_are_there_and_no_filters(browser, pages):
    page = browser.open(pages['run'])
    page.call('Emulation.setScriptExecutionDisabled', value=True)
    page.reload()
    page.call('Emulation.setScriptExecutionDisabled', value=False)
    assert page.evaluate(FILTERS) == 0
    assert visible(page) == ROWS
