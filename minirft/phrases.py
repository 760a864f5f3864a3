"""How statements are put into words: templates, a little English grammar, and six styles of sentence.

The words themselves are in data/statements.txt, which explains its own notation. A *unit* is one thing to say (a
statement, or the same statement of both sides); `compose` makes one caption of several, in one style: an order, a
sentence about someone, gerunds, a telegram, a noun phrase, or sentences about body parts. Everything is drawn from the
random.Random that is passed in, in one fixed order: the same state says the same.
"""
import re
from typing import NamedTuple

_IRREGULAR_PLURAL = {"foot": "feet", "thigh": "thighs"}
_TAKES_ARE = set("arms hands feet legs knees elbows palms fists ankles shoulders hips forearms buttocks toes".split())
_DOUBLED = set("put sit get squat hug set run chat jog swim cut step drop grab let clap hit".split())
_IRREGULAR_THIRD = {"have": "has", "be": "is", "do": "does", "go": "goes"}


def third_person(verb):
    """The verb after he or she.

    >>> third_person("reach"), third_person("raise"), third_person("carry"), third_person("stay")
    ('reaches', 'raises', 'carries', 'stays')
    """
    if verb in _IRREGULAR_THIRD:
        return _IRREGULAR_THIRD[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh", "z")) else "s")


def gerund(verb):
    """The verb's -ing form.

    >>> gerund("raise"), gerund("put"), gerund("lie"), gerund("be"), gerund("kneel")
    ('raising', 'putting', 'lying', 'being', 'kneeling')
    """
    if verb == "have":
        return "keeping"  # "is having his arm bent" is no English
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    silent_e = verb.endswith("e") and not verb.endswith(("ee", "be"))
    return (verb[:-1] if silent_e else verb) + "ing"


def plural(noun):
    return _IRREGULAR_PLURAL.get(noun) or noun + ("es" if noun.endswith("ch") else "s")


def compile_phrase(text):
    """A template to nodes: strings, lists of alternatives, and (mark, forms) pairs for nouns, verbs and pronouns.

    >>> compile_phrase("*raise [<arm>|{p} hand]")
    (('*', ('raise', 'raises', 'raising')), ' ', [(('<', (('arm', 'arms'),)),), (('{p}', None), ' hand')])
    """
    nodes = []
    for token in re.findall(r"\[[^\]]*\]|<[^>]*>|\{\w+\}|\*[\w-]+|[^\[<{*]+", _star_each(text)):
        if token[0] == "[":
            options = re.split(r"\|(?![^<]*>)", token[1:-1])  # at the bars outside <...>
            nodes.append([compile_phrase(option) for option in options])
        elif token[0] == "<":
            mark, nouns = re.fullmatch(r"(<(?:\w:|=)?)(.*)>", token).groups()
            nodes.append((mark, tuple((noun, plural(noun)) for noun in nouns.split("|"))))
        elif token[0] == "{":
            nodes.append((token, None))
        elif token[0] == "*":
            nodes.append(("*", (token[1:], third_person(token[1:]), gerund(token[1:]))))
        else:
            nodes.append(token)
    return tuple(nodes)


def _star_each(text):
    """`*[raise|lift]` is `[*raise|*lift]`."""
    return re.sub(r"\*\[([^\]]*)\]", lambda m: "[" + "|".join("*" + word for word in m[1].split("|")) + "]", text)


def read_statements(text):
    """data/statements.txt as [(rule line, block), ...]; a block holds the compiled phrases.

    Block: {"V": [template, ...], "S": [(noun, state), ...], "N": [template, ...], "X": [template, ...]}.
    """
    blocks = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if not kind or kind == "#":
            continue
        if kind not in "VSNX":
            block = {"V": [], "S": [], "N": [], "X": []}
            blocks.append((line, block))
            continue
        noun, _, states = rest.rpartition(" : ")
        options = [rest] if kind == "V" else states.split(" | ")
        compiled = [compile_phrase(option.strip()) for option in options]
        block[kind] += [(compile_phrase(noun), state) for state in compiled] if kind == "S" else compiled
    return blocks


BASE, THIRD, GERUND = range(3)  # the forms of a verb: raise, raises, raising


class Voice(NamedTuple):
    """Who is spoken of, and how: the verb's form, whose body part ("your", "the", "") and the reflexive."""
    form: int
    owner: str
    reflexive: str = "yourself"


def pick(rng, options):
    """One of the options, for exactly one rng.random(), which is also quicker than rng.choice."""
    return options[int(rng.random() * len(options))]


def say(nodes, voice, side, rng):
    """A compiled template as words. side: "left", "right", "both" (one phrase for the two sides) or None."""
    words = []
    for node in nodes:
        if isinstance(node, str):
            words.append(node)
        elif isinstance(node, list):
            words.append(say(pick(rng, node), voice, side, rng))
        else:
            words.append(_SAY[node[0]](node[1], voice, side, rng))
    return "".join(words)


def _noun(nouns, voice, side, rng):
    """<arm>: "your left arm"; of both sides "both arms", "your arms" or "both your arms"."""
    one, many = pick(rng, nouns)
    if side != "both":
        return f"{voice.owner} {side} {one}"
    chance = rng.random()
    if chance < 0.45 or (chance > 0.9 and voice.owner == "the"):
        return f"both {many}"
    return f"{voice.owner} {many}" if chance < 0.9 else f"both {voice.owner} {many}"


def _same_side(nouns, voice, side, rng):
    one, many = pick(rng, nouns)
    if side == "both":
        return many
    return f"{side} {one}" if rng.random() < 0.6 else one


_OTHER = {"left": "right", "right": "left"}
_SAY = {  # by the mark that opens it in data/statements.txt
    "<": _noun,
    "<=": _same_side,
    "<s:": lambda nouns, voice, side, rng: nouns[0][1] if side == "both" else f"{side} {nouns[0][0]}",
    "<o:": lambda nouns, voice, side, rng: f"{voice.owner} {_OTHER[side]} {pick(rng, nouns)[0]}",
    "*": lambda forms, voice, side, rng: forms[voice.form],
    "{p}": lambda _, voice, side, rng: voice.owner,
    "{self}": lambda _, voice, side, rng: voice.reflexive,
    "{L}": lambda _, voice, side, rng: side,
    "{O}": lambda _, voice, side, rng: _OTHER[side],
}
_KEEP = compile_phrase("*[keep|keep|hold|have]")
_DO = compile_phrase("*[do|do|do|hold|get into|go into]")
_STRIKE = compile_phrase("*[do|hold|strike|take|get into|assume]")
# Subject, pronoun, owner, reflexive, form of the verb. A subject written twice is drawn twice as often.
_PEOPLE = [(subject, *others) for subjects, *others in (
    ("a man|the man|he|he|a guy|a boy|an old man|the boy|this man", "he", "his", "himself", THIRD),
    ("a woman|the woman|she|she|a girl|a lady|the girl|this woman", "she", "her", "herself", THIRD),
    ("a person|the person|an athlete|a dancer|an actor", "he", "his", "himself", THIRD),
    ("a person|the person|a dancer|a gymnast|an athlete", "she", "her", "herself", THIRD),
    ("a person|the person|someone|somebody|a human|one person", "they", "their", "themselves", THIRD),
) for subject in subjects.split("|")]
PERSONS = [
    *_PEOPLE,
    ("the figure", "it", "its", "itself", THIRD), ("a figure", "it", "its", "itself", THIRD),
    ("they", "they", "their", "themselves", BASE), ("you", "you", "your", "yourself", BASE),
    ("i", "i", "my", "myself", BASE),
]


class Unit:
    """One thing to say: a block of phrases and the side it is said of ("left", "right", "both" or None)."""

    def __init__(self, block, side):
        self.block, self.side = block, side

    def _say(self, template, voice, rng):
        return say(template, voice, self.side, rng)

    def verb(self, voice, rng):
        """What one does: "raise your left arm"; a name is done ("do a lunge"), a state is kept ("keep it up")."""
        block = self.block
        if block["V"] and (not block["N"] or rng.random() < 0.75):
            return self._say(pick(rng, block["V"]), voice, rng)
        if block["N"]:
            name = self.name(voice, rng)
            frame = _STRIKE if name.endswith(("pose", "position", "stance")) else _DO
            return f"{say(frame, voice, None, rng)} {with_article(name)}"
        return f"{say(_KEEP, voice, None, rng)} {self.state(voice, rng)}"

    def state(self, voice, rng):
        """A part and its state: "your left arm raised"."""
        return " ".join(self._part_and_state(voice, rng))

    def sentence(self, voice, rng):
        """A part and its state as a sentence: "your left arm is raised"."""
        part, state = self._part_and_state(voice, rng)
        return f"{part} {'are' if part.rpartition(' ')[2] in _TAKES_ARE else 'is'} {state}"

    def _part_and_state(self, voice, rng):
        return [self._say(template, voice, rng) for template in pick(rng, self.block["S"])]

    def name(self, voice, rng):
        return self._say(pick(rng, self.block["N"]), voice, rng)

    def short(self, voice, rng):
        """The shortest: a whole caption, a name, a part and its state, or a gerund."""
        kind = pick(rng, [kind for kind in "XXNSV" if self.block[kind]])
        if kind == "S":
            return self.state(voice, rng)
        if kind == "V":
            voice = voice._replace(form=GERUND)
        return self._say(pick(rng, self.block[kind]), voice, rng)


def with_article(name):
    return ("an " if re.match("(?!one|u[^np])[aeiou]", name) else "a ") + name


def listed(items, rng):
    """The items with commas between them and, mostly, an "and" before the last."""
    if len(items) == 1:
        return items[0]
    joint = pick(rng, (" and ", " and ", ", and ", ", "))
    return ", ".join(items[:-1]) + joint + items[-1]


def _list_of(phrase, units, voice, rng):
    """The units listed in one of their forms: phrase is Unit.verb, Unit.state or Unit.sentence."""
    return listed([phrase(unit, voice, rng) for unit in units], rng)


def _split(units, chance, rng):
    """The units as two sentences: all in the first one if they are one or two, else with the given chance."""
    whole = len(units) < 3 or rng.random() < chance
    place = len(units) if whole else 1 + int(rng.random() * (len(units) - 1))
    return units[:place], units[place:]


def _clauses(units, voice, rng):
    """Verb phrases, then the rest as "with ..." or "while ...": "stand upright with your left arm raised"."""
    text, rest = units[0].verb(voice, rng), units[1:]
    if not rest:
        return text
    with_states = [unit for unit in rest if unit.block["S"] and rng.random() < 0.6]
    verbs = [unit for unit in rest if unit not in with_states]
    if verbs:
        if rng.random() < 0.2 and not with_states:
            meanwhile = " and at the same time " if voice.form == GERUND else " while "
            text += pick(rng, (" while ", ", ", meanwhile))
            text += _list_of(Unit.verb, verbs, voice._replace(form=GERUND), rng)
        else:
            text = listed([text] + [unit.verb(voice, rng) for unit in verbs], rng)
    if with_states:
        text += pick(rng, (" with ", ", with ", ", ")) + _list_of(Unit.state, with_states, voice, rng)
    return text


def as_order(units, rng):
    """An order: "please raise your left arm"."""
    voice = Voice(BASE, pick(rng, ("your", "your", "your", "your", "the", "")))
    first, then = _split(units, 0.6, rng)
    text = _clauses(first, voice, rng)
    if then:
        text += pick(rng, (". ", "; ", ". then ", ". also, ")) + _clauses(then, voice, rng)
    opening = pick(rng, 8 * ("",) + ("please ", "now ", "try to ", "just ", "can you ", "you should "))
    two_sentences = ". " in text
    return ("please " if opening == "can you " and two_sentences else opening) + text


def as_sentence(units, rng):
    """A sentence about someone: "a woman is raising her left arm"."""
    subject, pronoun, owner, reflexive, form = pick(rng, PERSONS)
    going_on = rng.random() < 0.55
    voice = Voice(GERUND if going_on else form, owner, reflexive)
    first, then = _split(units, 0.5, rng)
    be = "am " if subject == "i" else "is " if form == THIRD else "are "
    text = f"{subject} {be if going_on else ''}{_clauses(first, voice, rng)}"
    if not then:
        return text
    text += pick(rng, (". ", "; ", ", and "))
    if all(unit.block["S"] for unit in then):
        return text + _list_of(Unit.sentence, then, voice, rng)
    form = BASE if pronoun in ("they", "you", "i") else THIRD
    return text + f"{pronoun} {_clauses(then, voice._replace(form=form), rng)}"


def as_gerunds(units, rng):
    """Only what is being done: "raising the left arm"."""
    return _clauses(units, Voice(GERUND, pick(rng, ("the", "the", "your", "his", "her", "", "their"))), rng)


def as_telegram(units, rng):
    """The fewest words: "left arm up, knees bent"."""
    voice = Voice(GERUND, pick(rng, ("", "", "", "the")))
    joint = pick(rng, (", ", ", ", ", ", "; ", " and ") if len(units) < 3 else (", ", ", ", "; "))
    return joint.join(unit.short(voice, rng) for unit in units)


def as_noun_phrase(units, rng):
    """A picture's title: "a dancer in a lunge with her left arm raised"."""
    subject, _, owner, reflexive, _ = pick(rng, _PEOPLE)
    subject = {"he": "a man", "she": "a woman"}.get(subject, subject)
    if rng.random() < 0.2:
        subject = re.sub("^(a|an|the|one|this) ", "", subject)
    voice = Voice(GERUND, owner, reflexive)
    if units[0].block["N"] and rng.random() < 0.5:
        return _named(units, subject, voice, rng)
    if all(unit.block["S"] for unit in units) and rng.random() < 0.6:
        someone = ((subject, owner), ("a pose", "the"), ("a figure", "the"), ("someone", "their"), ("pose", "the"))
        subject, owner = pick(rng, someone)
        return f"{subject} with {_list_of(Unit.state, units, Voice(GERUND, owner), rng)}"
    openings = 5 * ("",) + ("picture of ", "a pose of ", "show me ", "the pose of ", "draw ", "make ", "i want ")
    return f"{pick(rng, openings)}{subject} {_clauses(units, voice, rng)}"


def _named(units, subject, voice, rng):
    """The first unit's name, with or without someone in it, then the rest: "a lunge with the left arm raised"."""
    name = units[0].name(voice, rng)
    pose = with_article(name)
    text = pick(rng, (pose, f"{subject} in {pose}", name, pose))
    if not text.startswith(subject):
        voice = voice._replace(owner="the")
    states = [unit for unit in units[1:] if unit.block["S"]]
    others = [unit for unit in units[1:] if not unit.block["S"]]
    if others:
        text += ", " + _list_of(Unit.verb, others, voice, rng)
    if states:
        text += (", " if others else " with ") + _list_of(Unit.state, states, voice, rng)
    return text


def as_parts(units, rng):
    """Whole sentences about parts: "the left arm is raised and both knees are bent"; what has no part is said first."""
    subject, _, owner, reflexive, form = pick(rng, PERSONS)
    voice = Voice(form, pick(rng, (owner, "the", "your")), reflexive)
    states = [unit for unit in units if unit.block["S"]]
    others = [unit for unit in units if not unit.block["S"]]
    if others:
        if voice.owner == "your":
            voice = voice._replace(owner=owner)
        text = f"{subject} {_clauses(others, voice, rng)}"
        if states:
            text += pick(rng, (", and ", "; ", ". ")) + _list_of(Unit.sentence, states, voice, rng)
        return text
    openings = 5 * ("",) + ("a pose where ", "a pose in which ", "someone whose ")
    opening = pick(rng, openings) if voice.owner == "the" else ""
    if "whose" in opening:
        voice = voice._replace(owner="")
    return opening + _list_of(Unit.sentence, states, voice, rng)


STYLES = {as_order: 0.29, as_sentence: 0.2, as_gerunds: 0.11, as_telegram: 0.2, as_noun_phrase: 0.1, as_parts: 0.1}


def compose(units, rng):
    """The units as one caption in one style, spaced, cased and stopped as people type."""
    chance = rng.random()
    if len(units) == 1 and rng.random() < 0.3:
        return finish(as_telegram(units, rng), rng)
    for style, share in STYLES.items():
        if chance <= share:
            break
        chance -= share
    return finish(style(units, rng), rng)


def finish(text, rng):
    """The text without stray spaces, its sentences mostly with a capital and a full stop, but not always."""
    text = re.sub(r" +", " ", text).strip().replace(" ,", ",").replace(" ;", ";").replace(" .", ".")
    text = re.sub(r"\bi\b", "I", text)
    if rng.random() < 0.65:
        text = re.sub(r"(^|[.] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    if text.lower().startswith("can you"):
        return text + ("?" if rng.random() < 0.7 else "")
    if text[-1] not in ".!?" and rng.random() < 0.6:
        text += "." if rng.random() < 0.97 else "!"
    return text


# What the functions above say of their own accord.
_FRAMES = """
*[keep|hold|have|do|strike|take|get into|go into|assume] draw make i want where which whose please now try to just can
you should then also at the same time while with and is are am a an both left right one picture of pose figure someone
show me in something
"""


def words_of(statements):
    """The lower-case words that captions made from this text (data/statements.txt) can hold."""
    phrases = [line[2:] for line in statements.splitlines() if line[:2] in ("V ", "S ", "N ", "X ")]
    people = [word for person in PERSONS for word in person[:4]]
    text = _star_each(" ".join([*phrases, *people, _FRAMES]))
    verbs = {form for verb in re.findall(r"\*([\w-]+)", text) for form in (third_person(verb), gerund(verb))}
    nouns = {plural(noun) for found in re.findall(r"<(?:\w:|=)?([^>]*)>", text) for noun in found.split("|")}
    sided = text.replace("{L}-", "left-") + text.replace("{L}-", "right-")
    plain = re.sub(r"<(?:\w:|=)|\{\w+\}", " ", sided)
    words = set(re.findall(r"[a-z0-9'-]+", plain.lower()))
    words |= {word for phrase in verbs | nouns for word in phrase.split()}
    return frozenset(words | {half for word in words for half in word.split("-") if half})
