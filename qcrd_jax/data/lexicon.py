"""The English words that `tagging` and `augment` know by heart.

Closed classes are close to complete; of the open ones there is what is frequent in rationales and
what neither suffix nor context gives away. Regular forms are derived (`inflect`).
"""

import itertools


def inflect(base: str, form: str) -> str:
    """Returns a regular noun or verb in a form: '' (as it is), 's', 'ed' or 'ing'.

    Examples:
      >>> inflect('carry', 'ed'), inflect('watch', 's'), inflect('remove', 'ing')
      ('carried', 'watches', 'removing')
    """
    consonant_y = base.endswith('y') and base[-2:-1] not in 'aeou'
    match form:
        case 's' if consonant_y:
            return f'{base[:-1]}ies'
        case 's' if base.endswith(('s', 'x', 'z', 'ch', 'sh')):
            return f'{base}es'
        case 'ed' if consonant_y:
            return f'{base[:-1]}ied'
        case 'ed' | 'ing' if base.endswith('e') and not base.endswith('ee'):
            return f'{base[:-1]}{form}'
    return base + form


def _list(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    """Reads one group of words a line."""
    return tuple(_list(line) for line in text.strip().splitlines())


def _pairs(text: str) -> dict[str, str]:
    """Reads `a/b c_d/e` as a table from each to the other; `_` stands for a space."""
    pairs = [pair.replace('_', ' ').split('/') for pair in text.split()]
    return {a: b for a, b in pairs} | {b: a for a, b in pairs}


def _one_way(text: str) -> dict[str, str]:
    return dict(pair.replace('_', ' ').split('/') for pair in text.split())


def _inflected(pairs: dict[str, str], *forms: str) -> dict[str, str]:
    return {inflect(a, form): inflect(b, form) for a, b in pairs.items() for form in forms}


# --- parts of speech ------------------------------------------------------------------------------

_CLOSED = {
    'DET': 'a an the this that these those each every all some any no both another such either '
    'neither my your his her its our their whose',
    'PRON': 'i me you he him she it we us they them one ones someone somebody something anyone '
    'anybody anything everyone everybody everything nobody nothing none who whom which what '
    'himself herself itself themselves yourself mine yours ours theirs there',
    'AUX': 'is are was were am be been being will would can could shall should must may might '
    'do does did has have had cannot ca wo sha',
    'ADP': 'of in on at by for from with without into onto over under per during about after '
    'before between among against through across along around behind beside near above below off '
    'out up down toward towards upon within outside inside like unlike despite until via',
    'SCONJ': 'if because since while when where whereas although though unless whether how why '
    'than as',
    'CCONJ': 'and or but nor',
    'PART': 'not to',
    'ADV': 'also then so just only very too already still now here again ever never always often '
    'sometimes usually instead therefore thus however together almost rather quite well even once '
    'twice away back later soon yet far maybe perhaps most least more less simultaneously '
    'altogether',
}
CLOSED_TAG = {word: tag for tag, words in _CLOSED.items() for word in _list(words)}

NUMBER_WORDS = frozenset(
    _list(
        'two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty '
        'fifty hundred thousand million'
    )
)
VERBS = frozenset(
    _list(
        'need want make take get give go come see use find think know work play live eat drink '
        'sell buy wear hold run walk sit stand jump ride drive swim sleep talk speak tell say ask '
        'call help look watch read write sing dance cook cut wash clean throw catch kick hit push '
        'pull carry bring put keep leave lose win pay cost spend save earn grow plant pick pack '
        'fill share split add subtract multiply divide remove start end begin stop finish open '
        'close move travel visit stay enter turn show wait learn teach study build fix break '
        'create produce cause become seem feel hear smell touch love hate like enjoy imply mean '
        'suggest state say claim confirm contradict support indicate include contain involve '
        'require represent refer describe direct star release publish found form locate serve '
        'perform compete belong exist happen occur consist receive collect follow lead join '
        'attend celebrate relax rest exercise protect bake bathe chase fall fly fish hunt kill '
        'die marry meet miss paint drop climb crash remain combine equal plan hope try discuss '
        'store own lack score shop provide mention specify infer assume experience evaluate allow '
        'prevent ignore'
    )
)
THIRD_PERSON = {inflect(verb, 's'): verb for verb in sorted(VERBS)} | {'goes': 'go'}
VERB_FORMS = {  # the form of every known verb, 'ed' for past and participle
    inflect(verb, form): form
    for verb, form in itertools.product(sorted(VERBS), ('ing', 'ed', 's', ''))
} | dict.fromkeys(
    _list(
        'made took taken got given gave went gone came saw seen found thought knew known ate eaten '
        'drank sold bought wore worn held ran sat stood rode drove driven swam slept spoke spoken '
        'told said sang wrote written threw thrown caught brought kept left lost won paid spent '
        'grew grown began begun led met built broke broken became felt heard fell fallen flew '
        'meant taught hid hidden shot born lent dug drawn drew done'
    ),
    'ed',
) | {'goes': 's', 'has': 's', 'running': 'ing', 'sitting': 'ing', 'getting': 'ing',
     'putting': 'ing', 'cutting': 'ing', 'swimming': 'ing'}  # fmt: skip
ADJECTIVES = frozenset(
    _list(
        'big small large little long short tall high low old young new good bad better worse best '
        'worst hot cold warm cool wet dry full empty happy sad rich poor early late fast slow hard '
        'soft heavy light dark bright clean dirty open closed free busy easy difficult right wrong '
        'true false same different other own many few several first second third last next red '
        'blue green yellow black white brown orange purple pink gray grey male female wooden human '
        'public private local main major important possible common likely unlikely clear sure able '
        'real whole single double asian african american british english french german italian '
        'spanish mexican canadian australian japanese chinese russian indian alive dead safe sick '
        'strong weak thin thick wide narrow deep near fresh cheap opposite enough close sweet '
        'entire modern urban native'
    )
)
NOUNS = frozenset(  # which a suffix or a verb of the same spelling would hide
    _list(
        'family king ring spring string morning evening building wedding clothing ceiling person '
        'people child children men women water food money time day year school book animal number '
        'bed seed speed wing metal hospital festival meal deal goal journal capital material music '
        'fabric topic traffic plastic garlic bicycle table vegetable total belly ally assembly '
        'supply reply july italy hotel hundred bread head way'
    )
)

PLURALS = frozenset(('people', 'children', 'men', 'women', 'police', 'feet'))  # without an s

# --- replacements ---------------------------------------------------------------------------------

# Words of which only one can be true, by part of speech.
_EXCLUSIVE = {
    'NOUN': _groups("""
        men women boys girls
        man woman boy girl
        teacher doctor farmer soldier lawyer sailor driver nurse waiter
        singer actor painter writer musician author director player
        customer owner worker student visitor
        friend stranger neighbor enemy
        dog cat horse cow bird rabbit
        school hospital church museum library prison theater restaurant hotel airport
        store market bank office park stadium zoo
        kitchen bathroom bedroom garage basement attic
        river lake ocean mountain forest desert field beach
        city town village country continent
        house apartment castle tent
        car boat train plane bicycle truck
        chair table lamp desk bed couch
        phone computer television radio camera
        minute hour day week month year
        morning afternoon evening night
        monday tuesday wednesday thursday friday saturday sunday
        january february march april june july august september october november december
        north south east west
        film novel album magazine song
        mother father brother sister
        summer winter autumn
        coffee tea milk beer
        bread meat cheese fruit rice
        football baseball tennis golf chess
        shirt jacket hat dress coat
        apple orange banana cookie cake
        knife fork spoon cup plate
        hand foot head ear nose mouth
        floor wall roof door window
        anger happiness fear boredom relief satisfaction regret sadness excitement
        war peace
        victory defeat
        success failure
        """),
    'ADJ': _groups("""
        red blue green yellow black white brown purple pink
        american french german canadian japanese italian mexican russian
        first second third fourth fifth
        wooden plastic metal
        """),
    'NUM': _groups('two three four five six seven eight nine ten eleven twelve'),
}
# The group of each word (and tag); nouns also in the plural, and as names (`Monday`).
EXCLUSIVE = {
    ('NOUN', inflect(word, 's')): tuple(inflect(other, 's') for other in group)
    for group in _EXCLUSIVE['NOUN'][2:]
    for word in group
}
EXCLUSIVE |= {
    (tag, word): group
    for name, groups in _EXCLUSIVE.items()
    for tag in ((name, 'PROPN') if name == 'NOUN' else (name,))
    for group in groups
    for word in group
}

# What stands in for a word with nothing better. Many and common, so that none of them gives away a
# corrupted rationale; the verbs take most objects.
OTHERS = {
    'NOUN': _list(
        'airport animal apartment bank basket bathroom bedroom boat bottle box bridge building '
        'camera candle car card chair child church city classroom clock coat college computer '
        'cookie country cup customer doctor door driver engine family farm farmer field flower '
        'friend game garden gift guitar hammer hat hospital hotel house island jacket key kitchen '
        'ladder lake lamp letter library market meal mirror mountain museum neighbor newspaper '
        'office painting park party pencil phone picture pillow plate pocket restaurant river road '
        'room school ship shirt shoe shop sign song station store street student table teacher '
        'theater ticket tool town toy tree truck window worker'
    ),
    'VERB': _list(
        'use watch carry clean follow push paint open visit love hate help join touch cook wash '
        'play pull move count protect attack damage share want need remember ignore collect repair '
        'borrow enjoy'
    ),
    'ADJ': _list(
        'big small old new young rich poor busy clean dirty dark bright heavy empty public private '
        'local foreign famous quiet noisy hungry tired happy angry round modern'
    ),
    'ADV': _list('slowly quickly rarely hardly easily secretly wrongly mostly'),
    'PROPN': _list('Martin Julia Oscar Nora David Emma Paul Lucy'),
}

OPPOSITES = {
    'NOUN': _inflected(
        _pairs(
            'beginning/end advantage/disadvantage friend/enemy winner/loser top/bottom '
            'buyer/seller student/teacher synonym/antonym agreement/contradiction'
        ),
        '',
        's',
    )
    | _pairs('presence/absence restatement/denial')
    | _one_way(
        'child/adult children/adults entailment/contradiction paraphrase/contradiction '
        'rephrasing/denial paraphrasing/denial opposite/equivalent'
    ),
    'VERB': _inflected(
        _pairs(
            'multiply/divide arrive/depart open/close start/finish push/pull love/hate '
            'support/contradict confirm/deny accept/refuse include/exclude enjoy/dislike '
            'increase/decrease allow/prevent enter/exit save/waste help/harm'
        ),
        '',
        's',
        'ed',
        'ing',
    )
    | _pairs(
        'give/receive gives/receives giving/receiving buy/sell buys/sells bought/sold '
        'buying/selling win/lose wins/loses won/lost winning/losing come/go comes/goes came/went '
        'coming/going sit/stand sits/stands sat/stood sitting/standing add/subtract adds/subtracts '
        'has/lacks'
    )
    | _one_way(
        'gave/received given/received have/lack had/lacked added/removed adding/removing '
        'implies/does_not_imply imply/do_not_imply means/does_not_mean '
        'indicates/does_not_indicate requires/excludes contradicting/confirming '
        'sleep/run sleeps/runs slept/ran sleeping/running walks/sleeps walking/sleeping '
        'removed/added found/lost took/returned'
    ),
    'ADJ': _pairs(
        'big/small large/tiny long/short tall/low high/low old/young new/old good/bad '
        'better/worse best/worst hot/cold warm/cool wet/dry full/empty happy/sad rich/poor '
        'early/late fast/slow hard/soft heavy/light dark/bright clean/dirty open/closed '
        'busy/idle easy/difficult right/wrong true/false likely/unlikely possible/impossible '
        'same/different male/female public/private alive/dead safe/dangerous '
        'strong/weak thin/thick wide/narrow deep/shallow fresh/stale cheap/expensive first/last '
        'longer/shorter larger/smaller higher/lower older/younger faster/slower earlier/later '
        'largest/smallest longest/shortest highest/lowest oldest/youngest necessary/unnecessary '
        'correct/incorrect consistent/inconsistent common/rare popular/unpopular similar/unrelated '
        'former/current many/few'
    )
    | _one_way(
        'large/small low/high short/long old/new last/first different/identical tall/short '
        'taller/shorter bigger/smaller biggest/smallest synonymous/unrelated'
    ),
    'ADV': _pairs(
        'always/never often/rarely usually/rarely together/apart indoors/outdoors quickly/slowly '
        'directly/indirectly early/late equally/unequally'
    )
    | _one_way('sometimes/never typically/rarely simultaneously/separately'),
}  # fmt: skip

# Function words and phrases that turn a statement round, whatever stands around them.
FLIPS = _pairs(
    'the_same_as/different_from at_least/at_most more_than/less_than everyone/no_one '
    'everybody/nobody inside/outside before/after there_is_no/there_is_some more/less '
    'there_are_no/there_are_some'
) | _one_way(
    'different_than/the_same_as the_same/a_different a_different/the_same nothing/something '
    'fewer/more all/few every/no both/neither none/all without/with within/outside '
    'but_not/and_also ,_not/,_and no_longer/still rather_than/as_well_as'
)

FIXED = frozenset(  # words about the task, and words that no other fits in for
    _list(
        'answer answers choice choices option options premise hypothesis sentence sentences '
        'statement statements question text information explanation example following thing '
        'things fact sense kind type state states stated mention mentions mentioned refer refers '
        'place places reason reasons feeling word way time '
        'other own several enough able sure many few same different likely make'
    )
)

# Auxiliaries that take a `not`, with what they become. Left out: may, might and could, whose
# negation says as little as they do.
NEGATED = {
    word: f'{word} not'
    for word in _list('is are was were will would should must does do did')
} | {'can': 'cannot'}  # fmt: skip
POSITIVE = {'ca': 'can', 'wo': 'will', 'sha': 'shall'}  # of `can't`, `won't`, `shan't`
