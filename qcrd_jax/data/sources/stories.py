"""The stories that `mwp` tells: facts and a question, with places for numbers, names and things.

A story is known by its place among those of its operation. Places are for good: the default
dataset takes the first ones, and a student that was pretrained on the later ones has never seen
those before. So new stories are appended and none is moved or reworded.
"""

import dataclasses

PLACES = 16
"""Every operation has a story at the places 0 to PLACES - 1."""

PAIR_STEP = 4
"""The stories of a pair of operations stand at every fourth place: 0, 4, 8, ..."""


@dataclasses.dataclass(frozen=True)
class Story:
    """Facts and a question; the numbers appear in the order in which the solution takes them.

    Attributes:
      operations: of the solution `((a op b) op c)`, one or two.
      facts: text with the places {a}, {b} (and {c}), and maybe {name}, {other} and {things}.
      question: text without a number.
      unit: what the result counts; '': the things.
    """

    operations: str
    facts: str
    question: str
    unit: str = ''


def select(operations: str, steps: int, first: int, number: int) -> list[Story]:
    """Returns the stories at the places from `first` on, `number` many at most per operation.

    Args:
      operations: those that a story may use, some of '+-*/'.
      steps: operations in the solution of a story, 1 or 2; the stories of a pair of operations
        stand at every `PAIR_STEP`-th place.
      first: the first place.
      number: of places.

    Examples:
      >>> [story.question for story in select('-', steps=1, first=1, number=1)]
      ['How many more has {name}?']
      >>> len(select('+-*/', steps=2, first=0, number=4)), len(select('+-', 2, 0, 8))
      (8, 8)
    """
    counts: dict[str, int] = {}
    chosen = []
    for story in STORIES:
        if len(story.operations) == steps and not set(story.operations) - set(operations):
            place = counts.get(story.operations, 0)
            counts[story.operations] = place + (1 if steps == 1 else PAIR_STEP)
            if first <= place < first + number:
                chosen.append(story)
    return chosen


STORIES = (
    Story('+', '{name} has {a} {things} and buys {b} more.', 'How many {things} are there now?'),
    Story('+', '{name} finds {a} {things} and {other} finds {b}.', 'How many {things} in all?'),
    Story('+', 'A box holds {a} {things}. {name} puts in {b} more.', 'How many are in it now?'),
    Story('+', '{name} sold {a} {things} today and {b} before.', 'How many {things} were sold?'),
    Story('-', '{name} has {a} {things} and gives away {b}.', 'How many {things} are left?'),
    Story('-', '{name} has {a} {things} and {other} has {b}.', 'How many more has {name}?'),
    Story('-', 'A box holds {a} {things}. {name} takes out {b}.', 'How many are in it now?'),
    Story('-', '{name} needs {a} {things} and has {b}.', 'How many {things} are missing?'),
    Story('*', '{name} has {a} boxes of {b} {things} each.', 'How many {things} in all?'),
    Story('*', 'For {a} days {name} buys {b} {things} a day.', 'How many {things} are bought?'),
    Story('*', 'There are {a} rows of {b} {things}.', 'How many {things} in all?'),
    Story('*', '{name} fills {a} bags with {b} {things} each.', 'How many {things} are used?'),
    Story('/', '{name} shares {a} {things} among {b} friends.', 'How many does each one get?'),
    Story('/', '{name} puts {a} {things} into {b} boxes.', 'How many {things} are in each box?'),
    Story('/', 'There are {a} {things} in {b} rows.', 'How many {things} are in each row?'),
    Story('/', '{name} deals {a} {things} to {b} players.', 'How many does each one get?'),
    Story('+-', '{name} has {a} {things}, buys {b} and gives away {c}.', 'How many are left?'),
    Story('-+', '{name} has {a} {things}, sells {b} and finds {c}.', 'How many are there now?'),
    Story('--', '{name} has {a} {things}, sells {b} and loses {c}.', 'How many are left?'),
    Story('++', '{name} finds {a}, then {b}, then {c} {things}.', 'How many {things} in all?'),
    Story('*+', '{name} has {a} boxes of {b} {things} and {c} more.', 'How many in all?'),
    Story('*-', '{name} has {a} boxes of {b} {things} and sells {c}.', 'How many are left?'),
    Story('+/', '{name} puts {a} and {b} {things} into {c} boxes.', 'How many are in each box?'),
    Story('-/', '{name} has {a} {things}, sells {b} and shares the rest among {c} friends.',
          'How many does each one get?'),

    # --- Places 4 to 15. Their order within an operation mixes kinds: gain and loss, comparison,
    # money, distance, age, rate.
    Story('+', 'After giving away {a} {things}, {name} still has {b}.',
          'How many {things} did {name} have at first?'),
    Story('+', '{name} has {a} {things}. {other} has {b} more than {name}.',
          'How many {things} does {other} have?'),
    Story('+', '{name} walks {a} miles on Monday and {b} miles on Tuesday.',
          'How far does {name} walk altogether?', 'miles'),
    Story('+', 'A shop sold {a} {things} in the morning and {b} in the afternoon.',
          'How many {things} did the shop sell that day?'),
    Story('+', '{name} is {a} years old. {other} is {b} years older.',
          'How old is {other}?', 'years'),
    Story('+', '{name} has {a} {things}, which is {b} fewer than {other} has.',
          'How many {things} does {other} have?'),
    Story('+', '{name} spent {a} dollars and has {b} dollars left.',
          'How much money did {name} start with?', 'dollars'),
    Story('+', 'There are {a} {things} on the table and {b} on the floor.',
          'What is the total number of {things}?'),
    Story('+', 'Yesterday {name} packed {a} {things}. Today {name} packed {b} more than yesterday.',
          'How many {things} did {name} pack today?'),
    Story('+', 'A lamp costs {a} dollars and a chair costs {b} dollars.',
          'How much do they cost together?', 'dollars'),
    Story('+', '{name} used {a} {things} and did not use the other {b}.',
          'How many {things} were there to begin with?'),
    Story('+', '{name} read {a} pages before lunch and {b} pages after it.',
          'How many pages did {name} read in total?', 'pages'),

    Story('-', '{name} has {a} {things} now, after buying {b}.',
          'How many {things} did {name} have before?'),
    Story('-', '{name} has {a} {things}. {other} has {b} fewer than {name}.',
          'How many {things} does {other} have?'),
    Story('-', 'A trip is {a} miles long. {name} has driven {b} miles so far.',
          'How many miles are still to go?', 'miles'),
    Story('-', 'There were {a} {things} in a shop. At closing time {b} were left.',
          'How many {things} were sold?'),
    Story('-', '{name} is {a} years old and {other} is {b} years old.',
          'How many years older is {name}?', 'years'),
    Story('-', '{name} has {a} {things}, which is {b} more than {other} has.',
          'How many {things} does {other} have?'),
    Story('-', '{name} had {a} dollars and paid {b} dollars for some {things}.',
          'How much money does {name} have now?', 'dollars'),
    Story('-', 'Of {a} {things} on a shelf, {b} fell down.',
          'How many {things} stayed on the shelf?'),
    Story('-', 'On Monday {name} counted {a} {things}, on Tuesday only {b}.',
          'How many fewer {things} did {name} count on Tuesday?'),
    Story('-', 'A chair costs {a} dollars and a lamp costs {b} dollars.',
          'How much more does the chair cost than the lamp?', 'dollars'),
    Story('-', 'Together {name} and {other} have {a} {things}. {name} has {b} of them.',
          'How many {things} does {other} have?'),
    Story('-', 'A book has {a} pages, of which {name} has read {b}.',
          'How many pages are still to be read?', 'pages'),

    Story('*', '{name} buys {a} {things} at {b} dollars each.',
          'How much does {name} pay?', 'dollars'),
    Story('*', '{name} has {a} {things}. {other} has {b} times as many.',
          'How many {things} does {other} have?'),
    Story('*', '{name} walks {a} miles a day for {b} days.',
          'How far does {name} walk in all?', 'miles'),
    Story('*', 'Each of {a} children brings {b} {things}.',
          'How many {things} do the children bring altogether?'),
    Story('*', 'A machine makes {a} {things} an hour and runs for {b} hours.',
          'How many {things} does the machine make?'),
    Story('*', '{name} works {a} hours and earns {b} dollars an hour.',
          'How much does {name} earn?', 'dollars'),
    Story('*', 'On each of {a} shelves there are {b} {things}.',
          'How many {things} are on the shelves altogether?'),
    Story('*', 'A book has {a} chapters of {b} pages each.',
          'How many pages does the book have?', 'pages'),
    Story('*', '{name} orders {a} packs. Every pack contains {b} {things}.',
          'How many {things} does {name} get?'),
    Story('*', 'A sack weighs {a} pounds. {name} carries {b} such sacks.',
          'How many pounds does {name} carry?', 'pounds'),
    Story('*', 'A train travels at {a} miles an hour for {b} hours.',
          'How many miles does the train travel?', 'miles'),
    Story('*', '{name} needs {a} {things} and {other} needs {b} times that number.',
          'How many {things} does {other} need?'),

    Story('/', '{name} pays {a} dollars for {b} {things} of the same price.',
          'How much does each of the {things} cost?', 'dollars'),
    Story('/', '{name} has {a} {things}, which is {b} times as many as {other} has.',
          'How many {things} does {other} have?'),
    Story('/', '{name} walks {a} miles in {b} days, the same distance every day.',
          'How far does {name} walk each day?', 'miles'),
    Story('/', '{name} packs {a} {things} in bags of {b}.',
          'How many bags does {name} fill?', 'bags'),
    Story('/', 'A machine made {a} {things} in {b} hours.',
          'How many {things} did the machine make per hour?'),
    Story('/', '{name} earned {a} dollars for {b} hours of work.',
          'How much did {name} earn per hour?', 'dollars'),
    Story('/', '{a} {things} are arranged in rows of {b}.',
          'How many rows are there?', 'rows'),
    Story('/', 'A book of {a} pages has {b} chapters of equal length.',
          'How many pages are in each chapter?', 'pages'),
    Story('/', '{name} needs {a} {things}, which are sold in packs of {b}.',
          'How many packs does {name} need?', 'packs'),
    Story('/', 'A ribbon of {a} inches is cut into {b} equal parts.',
          'How many inches long is each part?', 'inches'),
    Story('/', '{name} has {a} dollars. The price of {things} is {b} dollars each.',
          'How many {things} can {name} buy?'),
    Story('/', '{a} children form {b} teams of equal size.',
          'How many children are in each team?', 'children'),

    Story('+-', '{name} had {a} dollars, earned {b} dollars and spent {c} dollars.',
          'How much money does {name} have now?', 'dollars'),
    Story('+-', 'There are {a} red {things} and {b} blue {things}. {name} takes {c} of them.',
          'How many {things} remain?'),
    Story('+-', 'A shop had {a} {things} and got {b} new ones. By evening {c} were sold.',
          'How many {things} does the shop still have?'),
    Story('-+', '{name} had {a} dollars, paid {b} dollars for a lamp and then earned {c} dollars.',
          'How much money does {name} have now?', 'dollars'),
    Story('-+', 'There were {a} {things} on a shelf. {name} took {b} down and put {c} others up.',
          'How many {things} are on the shelf now?'),
    Story('-+', 'A bus had {a} passengers. At the next stop {b} got off and {c} got on.',
          'How many passengers were on the bus then?', 'passengers'),
    Story('--', 'Of {a} {things}, {b} are red, {c} are blue and the rest are green.',
          'How many {things} are green?'),
    Story('--', 'A trip is {a} miles long. {name} drove {b} miles yesterday and {c} miles today.',
          'How many miles are still to go?', 'miles'),
    Story('--', '{name} had {a} dollars, paid {b} dollars for a lamp and {c} dollars for a chair.',
          'How much money does {name} have left?', 'dollars'),
    Story('++', '{name} has {a} {things}, {other} has {b} and a friend of theirs has {c}.',
          'How many {things} do all of them have together?'),
    Story('++', '{name} walked {a} miles on Monday, {b} on Tuesday and {c} on Wednesday.',
          'How far did {name} walk altogether?', 'miles'),
    Story('++', 'After giving away {a} {things} at noon and {b} at night, {name} still has {c}.',
          'How many {things} did {name} have at first?'),
    Story('*+', '{name} bought {a} {things} at {b} dollars each and a bag for {c} dollars.',
          'How much did {name} pay in all?', 'dollars'),
    Story('*+', 'There are {a} rows of {b} {things}, and {c} more {things} lie on a table.',
          'How many {things} are there altogether?'),
    Story('*+', '{name} worked {a} hours for {b} dollars an hour and got a tip of {c} dollars.',
          'How much did {name} get in all?', 'dollars'),
    Story('*-', 'A machine made {a} {things} an hour for {b} hours, but {c} of them were damaged.',
          'How many {things} were not damaged?'),
    Story('*-', 'A hall has {a} rows of {b} seats. In all, {c} seats are empty.',
          'How many seats are taken?', 'seats'),
    Story('*-', '{name} worked {a} hours for {b} dollars an hour and then spent {c} dollars of it.',
          'How much of the money is left?', 'dollars'),
    Story('+/', '{name} has {a} {things} and {other} has {b}. They pack them all in bags of {c}.',
          'How many bags do they fill?', 'bags'),
    Story('+/', '{name} earned {a} dollars on Monday and {b} on Tuesday, in {c} hours altogether.',
          'How much did {name} earn per hour?', 'dollars'),
    Story('+/', '{a} boys and {b} girls form {c} teams of equal size.',
          'How many children are in each team?', 'children'),
    Story('-/', 'Of {a} {things}, {name} lost {b}. The others lie in rows of {c}.',
          'How many rows are there?', 'rows'),
    Story('-/', '{name} had {a} dollars, kept {b} dollars and bought {c} {things} with the rest.',
          'How much did each of the {things} cost on average?', 'dollars'),
    Story('-/', 'A book has {a} pages, of which {name} has read {b}. The rest will take {c} days.',
          'How many pages a day will that be?', 'pages'),
)  # fmt: skip
