"""How statements are put into words: a little English grammar, and six styles of sentence.

The words are data: what is said of each statement is in data/statements.txt, all around it in data/phrases.json; each
explains its own notation. A *unit* is one thing to say (a statement, or the same statement of both sides); `compose`
makes one caption of several, in one style. Everything is drawn from the random.Random that is passed in, in one fixed
order: the same state says the same.
"""
import functools
import json
import re
from typing import NamedTuple

from .body import DATA
from .errors import InputError

BASE, THIRD, GERUND = range(3)  # the forms of a verb: raise, raises, raising
_LISTS = (  # what data/phrases.json must hold
    "inflections", "takes are", "people", "figures", "poses", "keep", "do", "strike", "and", "while",
    "while, after -ing", "with", "order, whose", "order, opening", "order, next", "sentence, next", "gerunds, whose",
    "telegram, whose", "telegram, next", "telegram of many, next", "noun phrase, opening", "parts, opening",
    "parts, next",
)


class Voice(NamedTuple):
    """Who is spoken of, and how: the verb's form, whose body part ("your", "the", ""), and the words for them."""
    form: int
    owner: str
    reflexive: str = "yourself"
    be: str = "are"
    pronoun: str = "you"
    subject: str = ""


def read_words(path):
    """data/phrases.json, its people as Voices. Raises InputError if it is missing or broken."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if missing := [name for name in _LISTS if not words.get(name)]:
            raise ValueError(f"it lacks {', '.join(map(repr, missing))}")
        for kind in ("people", "figures", "poses"):
            words[kind] = [Voice(THIRD if be == "is" else BASE, owner, reflexive, be, pronoun, subject)
                           for pronoun, owner, reflexive, be, subjects in words[kind] for subject in subjects]
        return {name: words[name] for name in _LISTS}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"cannot use {path}: {error}; mend it or restore it as it came with minirft") from error


_WORDS = read_words(DATA / "phrases.json")


@functools.cache  # nouns and verbs come up often, and this is part of the import
def inflect(word, form):
    """A verb's "third person" or "gerund", a noun's "plural".

    >>> inflect("carry", "third person"), inflect("raise", "gerund"), inflect("foot", "plural")
    ('carries', 'raising', 'feet')
    """
    rules = _WORDS["inflections"][form]
    return next(re.sub(ending, new, word, count=1) for ending, new in rules if re.search(ending, word))


def compile_phrase(text):
    """A template to nodes: strings, and (mark, forms) pairs for nouns, verbs, pronouns and alternatives.

    >>> compile_phrase("*raise [<arm>|{p} hand]")
    (('*', ('raise', 'raises', 'raising')), ' ', ('[', [(('<', [('arm', 'arms')]),), (('{p}', None), ' hand')]))
    """
    nodes = []
    text = re.sub(r"\*\[([^\]]*)", lambda verbs: "[*" + verbs[1].replace("|", "|*"), text)  # *[raise|lift]
    for token in re.findall(r"\[[^\]]*\]|<[^>]*>|\{\w+\}|\*[\w-]+|[^\[<{*]+", text):
        if token[0] == "[":
            options = re.split(r"\|(?![^<]*>)", token[1:-1])  # at the bars outside <...>
            nodes.append(("[", [compile_phrase(option) for option in options]))
        elif token[0] == "<":
            mark, nouns = re.fullmatch(r"(<(?:\w:|=)?)(.*)>", token).groups()
            nodes.append((mark, [(noun, inflect(noun, "plural")) for noun in nouns.split("|")]))
        elif token[0] == "*":
            nodes.append(("*", (token[1:], inflect(token[1:], "third person"), inflect(token[1:], "gerund"))))
        else:
            nodes.append((token, None) if token[0] == "{" else token)
    return tuple(nodes)


def read_statements(text):
    """data/statements.txt as [(rule line, block), ...]; a block is {kind of phrase: [compiled phrase, ...]}.

    Kinds: "V", "N" and "X" as they stand; "S" with its part and its state in one phrase, " : " between them.
    """
    blocks = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("", "#"):
            continue
        if kind not in "VSNX":
            blocks.append((line, {"V": [], "S": [], "N": [], "X": []}))
            continue
        part, colon, options = rest.rpartition(" : ")
        options = [rest] if kind == "V" else options.split(" | ")
        blocks[-1][1][kind] += [compile_phrase(part + colon + option.strip()) for option in options]
    return blocks


def pick(rng, options):
    """One of the options, for exactly one rng.random(), which is also quicker than rng.choice."""
    return options[int(rng.random() * len(options))]


def draw(name, rng):
    """One of a list of data/phrases.json."""
    return pick(rng, _WORDS[name])


def say(nodes, voice, side, rng):
    """A compiled template as words. side: "left", "right", "both" (one phrase for the two sides) or None."""
    return "".join([node if isinstance(node, str) else _SAY[node[0]](node[1], voice, side, rng) for node in nodes])


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
    "[": lambda options, voice, side, rng: say(pick(rng, options), voice, side, rng),
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
_FRAMES = {name: [compile_phrase(verb) for verb in _WORDS[name]] for name in ("keep", "do", "strike")}


class Unit(NamedTuple):
    """One thing to say: a block of phrases and the side it is said of ("left", "right", "both" or None)."""
    block: dict
    side: str

    def words(self, kind, voice, rng):
        """One of the phrases of a kind."""
        return say(pick(rng, self.block[kind]), voice, self.side, rng)

    def verb(self, voice, rng):
        """What one does: "raise your left arm"; a name is done ("do a lunge"), a state is kept ("keep it up")."""
        block = self.block
        if block["V"] and (not block["N"] or rng.random() < 0.75):
            return self.words("V", voice, rng)
        if not block["N"]:
            return f"{say(pick(rng, _FRAMES['keep']), voice, None, rng)} {self.state(voice, rng)}"
        name = self.words("N", voice, rng)
        frame = _FRAMES["strike" if name.endswith(("pose", "position", "stance")) else "do"]
        return f"{say(pick(rng, frame), voice, None, rng)} {with_article(name)}"

    def state(self, voice, rng):
        """A part and its state: "your left arm raised"."""
        return self.words("S", voice, rng).replace(" : ", " ")

    def sentence(self, voice, rng):
        """A part and its state as a sentence: "your left arm is raised"."""
        part, state = self.words("S", voice, rng).split(" : ")
        return f"{part} {'are' if part.rpartition(' ')[2] in _WORDS['takes are'] else 'is'} {state}"


def with_article(name):
    return ("an " if re.match("(?!one|u[^np])[aeiou]", name) else "a ") + name


def listed(items, rng):
    """The items with commas between them and, mostly, an "and" before the last."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {draw('and', rng)} {items[-1]}"


def _by_part(units):
    """The units that can be a part and its state, and the others."""
    return [unit for unit in units if unit.block["S"]], [unit for unit in units if not unit.block["S"]]


def _split(units, chance, rng):
    """The units as two sentences: all in the first one if they are one or two, else with the given chance."""
    whole = len(units) < 3 or rng.random() < chance
    place = len(units) if whole else 1 + int(rng.random() * (len(units) - 1))
    return units[:place], units[place:]


def _clauses(units, voice, rng):
    """Verb phrases, then the rest as "with ..." or "while ...": "stand upright with your left arm raised"."""
    text, rest = units[0].verb(voice, rng), units[1:]
    states = [unit for unit in rest if unit.block["S"] and rng.random() < 0.6]
    verbs = [unit for unit in rest if unit not in states]
    if verbs and rng.random() < 0.2 and not states:
        text += f" {draw('while, after -ing' if voice.form == GERUND else 'while', rng)} "
        text += listed([unit.verb(voice._replace(form=GERUND), rng) for unit in verbs], rng)
    elif verbs:
        text = listed([text] + [unit.verb(voice, rng) for unit in verbs], rng)
    if states:
        text += f" {draw('with', rng)} {listed([unit.state(voice, rng) for unit in states], rng)}"
    return text


def as_order(units, rng):
    """An order: "please raise your left arm"."""
    voice = Voice(BASE, draw("order, whose", rng))
    first, then = _split(units, 0.6, rng)
    text = _clauses(first, voice, rng)
    if then:
        text += f" {draw('order, next', rng)} {_clauses(then, voice, rng)}"
    return f"{draw('order, opening', rng)} {text}"


def as_sentence(units, rng):
    """A sentence about someone: "a woman is raising her left arm"."""
    voice = pick(rng, _WORDS["people"] + _WORDS["figures"])
    be, voice = (voice.be + " ", voice._replace(form=GERUND)) if rng.random() < 0.55 else ("", voice)
    first, then = _split(units, 0.5, rng)
    text = f"{voice.subject} {be}{_clauses(first, voice, rng)}"
    if not then:
        return text
    text += f" {draw('sentence, next', rng)} "
    if all(unit.block["S"] for unit in then):
        return text + listed([unit.sentence(voice, rng) for unit in then], rng)
    form = BASE if voice.pronoun in ("they", "you", "i") else THIRD
    return text + f"{voice.pronoun} {_clauses(then, voice._replace(form=form), rng)}"


def as_gerunds(units, rng):
    """Only what is being done: "raising the left arm"."""
    return _clauses(units, Voice(GERUND, draw("gerunds, whose", rng)), rng)


def as_telegram(units, rng):
    """The fewest words: "left arm up, squatting"; of each unit a whole caption, a name, a state or a gerund."""
    voice = Voice(GERUND, draw("telegram, whose", rng))
    joint = draw("telegram, next" if len(units) < 3 else "telegram of many, next", rng)
    kinds = [[kind for kind in "XXNSV" if unit.block[kind]] for unit in units]
    said = [unit.words(pick(rng, kind), voice, rng).replace(" : ", " ") for unit, kind in zip(units, kinds)]
    return f" {joint} ".join(said)


def as_noun_phrase(units, rng):
    """A picture's title: "a dancer in a lunge with her left arm raised"."""
    voice = draw("people", rng)._replace(form=GERUND)
    subject = {"he": "a man", "she": "a woman"}.get(voice.subject, voice.subject)
    if rng.random() < 0.2:
        subject = re.sub("^(a|an|the|one|this) ", "", subject)
    if units[0].block["N"] and rng.random() < 0.5:
        return _named(units, subject, voice, rng)
    if all(unit.block["S"] for unit in units) and rng.random() < 0.6:
        voice = pick(rng, [voice._replace(subject=subject)] + _WORDS["poses"])
        return f"{voice.subject} with {listed([unit.state(voice, rng) for unit in units], rng)}"
    return f"{draw('noun phrase, opening', rng)} {subject} {_clauses(units, voice, rng)}"


def _named(units, subject, voice, rng):
    """The first unit's name, with or without someone in it, then the rest: "a lunge with the left arm raised"."""
    name = units[0].words("N", voice, rng)
    pose = with_article(name)
    text = pick(rng, (pose, f"{subject} in {pose}", name, pose))
    if not text.startswith(subject):
        voice = voice._replace(owner="the")
    states, others = _by_part(units[1:])
    if others:
        text += ", " + listed([unit.verb(voice, rng) for unit in others], rng)
    if states:
        text += (", " if others else " with ") + listed([unit.state(voice, rng) for unit in states], rng)
    return text


def as_parts(units, rng):
    """Whole sentences about parts: "the left arm is raised and both knees are bent"; what has no part is said first."""
    voice = pick(rng, _WORDS["people"] + _WORDS["figures"])
    owner = pick(rng, (voice.owner, "the", "your"))
    states, others = _by_part(units)
    if not others:
        opening = draw("parts, opening", rng) if owner == "the" else ""
        voice = voice._replace(owner="" if "whose" in opening else owner)
        return f"{opening} {listed([unit.sentence(voice, rng) for unit in states], rng)}"
    voice = voice if owner == "your" else voice._replace(owner=owner)
    text = f"{voice.subject} {_clauses(others, voice, rng)}"
    if states:
        text += f" {draw('parts, next', rng)} {listed([unit.sentence(voice, rng) for unit in states], rng)}"
    return text


_PER_CENT = {as_order: 29, as_sentence: 20, as_gerunds: 11, as_telegram: 20, as_noun_phrase: 10, as_parts: 10}
_STYLES = [style for style, share in _PER_CENT.items() for _ in range(share)]


def compose(units, rng):
    """The units as one caption in one style, spaced, cased and stopped as people type."""
    style = pick(rng, _STYLES)
    if len(units) == 1 and rng.random() < 0.3:
        style = as_telegram
    return finish(style(units, rng), rng)


def finish(text, rng):
    """The text without stray spaces, its sentences mostly with a capital and a full stop, but not always."""
    text = re.sub(" +(?=[ ,;.])", "", text).strip()
    text = re.sub(r"^can you (?=.*\. )", "please ", text)  # a question is one sentence
    text = re.sub(r"\bi\b", "I", text)
    if rng.random() < 0.65:
        text = re.sub(r"(^|[.] )([a-z])", lambda found: found[1] + found[2].upper(), text)
    if text.lower().startswith("can you"):
        return text + ("?" if rng.random() < 0.7 else "")
    if text[-1] not in ".!?" and rng.random() < 0.6:
        text += "." if rng.random() < 0.97 else "!"
    return text


def _strings(tree):
    """Every string in nested lists and tuples."""
    if isinstance(tree, (list, tuple)):
        return [string for branch in tree for string in _strings(branch)]
    return [tree] if isinstance(tree, str) else []


def words_of(blocks):
    """The lower-case words that captions made from these blocks can hold."""
    phrases = [list(block.values()) for block in blocks] + list(_FRAMES.values())
    around = [options for name, options in _WORDS.items() if name != "inflections"]
    text = " ".join(_strings([phrases, around, "a an both in is left right with"]))
    sided = text.replace("{L} -", "left-") + " " + text.replace("{L} -", "right-")
    words = set(re.findall("[a-z0-9'-]+", re.sub(r"<\w:|\{\w+\}", " ", sided).lower()))
    return frozenset(words | {half for word in words for half in word.split("-") if half})
