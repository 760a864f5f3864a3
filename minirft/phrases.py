"""How statements are put into words: templates, a little English grammar, and six styles of sentence.

The words themselves are in data/statements.txt, which explains its own notation. A *unit* is one thing to say (a statement, or the same
statement of both sides); `compose` makes one caption of several, in one style: an order, a sentence about someone, gerunds, a telegram,
a noun phrase, or sentences about body parts. Everything is drawn from the random.Random that is passed in.
"""

import re

_PLURAL = {"foot": "feet", "thigh": "thighs"}
_PLURALS = set("arms hands feet legs knees elbows palms fists ankles shoulders hips forearms buttocks toes".split())
_DOUBLED = set("put sit get squat hug set run chat jog swim cut step drop grab let clap hit".split())
_THIRD = {"have": "has", "be": "is", "do": "does", "go": "goes"}


def third_person(verb):
    """The verb after he or she.

    >>> third_person("reach"), third_person("raise"), third_person("carry"), third_person("stay")
    ('reaches', 'raises', 'carries', 'stays')
    """
    if verb in _THIRD:
        return _THIRD[verb]
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
    return (verb[:-1] if verb.endswith("e") and not verb.endswith(("ee", "be")) else verb) + "ing"


def plural(noun):
    return _PLURAL.get(noun) or (noun + ("es" if noun.endswith("ch") else "s"))


def compile_phrase(text):
    """A template to nodes: strings, lists of alternatives, and (kind, what) pairs for nouns, verbs and pronouns."""
    text = _star_each(text)
    nodes = []
    for token in re.findall(r"\[[^\]]*\]|<[^>]*>|\{\w+\}|\*[\w-]+|[^\[<{*]+", text):
        if token[0] == "[":
            nodes.append([compile_phrase(option) for option in _options(token[1:-1])])
        elif token[0] == "<":
            mode, colon, nouns = token[1:-1].rpartition(":")
            if nouns[0] == "=":
                mode, nouns = "=", nouns[1:]
            nodes.append((mode or "own", tuple((noun, plural(noun)) for noun in nouns.split("|"))))
        elif token[0] == "{":
            nodes.append((token[1:-1], None))
        elif token[0] == "*":
            nodes.append(("verb", (token[1:], third_person(token[1:]), gerund(token[1:]))))
        else:
            nodes.append(token)
    return tuple(nodes)


def _star_each(text):
    """`*[raise|lift]` is `[*raise|*lift]`."""
    return re.sub(r"\*\[([^\]]*)\]", lambda m: "[" + "|".join("*" + word for word in m[1].split("|")) + "]", text)


def _options(text):
    """Split at the bars that stand outside <...>."""
    return re.split(r"\|(?![^<]*>)", text)


def read_statements(text):
    """data/statements.txt as [(rule line, {"V": [template, ...], "S": [(noun, state), ...], "N": ..., "X": ...})], templates compiled."""
    blocks = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if not kind or kind == "#":
            continue
        if kind not in "VSNX":
            block = {"V": [], "S": [], "N": [], "X": []}
            blocks.append((line, block))
        elif kind == "V":
            block["V"].append(compile_phrase(rest))
        elif kind == "S":
            noun, _, states = rest.partition(" : ")
            for state in _options_spaced(states):
                block["S"].append((compile_phrase(noun), compile_phrase(state)))
        else:
            block[kind] += [compile_phrase(option) for option in _options_spaced(rest)]
    return blocks


def _options_spaced(text):
    return [option.strip() for option in text.split(" | ")]


class Voice:
    """Who is spoken of, and how: the verb's form (0 base, 1 third person, 2 gerund), whose body part, and the reflexive."""

    def __init__(self, form, owner, reflexive="yourself"):
        self.form, self.owner, self.reflexive = form, owner, reflexive


def pick(rng, options):
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
    one, many = pick(rng, nouns)
    if side != "both":
        return f"{voice.owner} {side} {one}"
    chance = rng.random()
    if chance < 0.45 or chance > 0.9 and voice.owner == "the":
        return f"both {many}"
    return f"{voice.owner} {many}" if chance < 0.9 else f"both {voice.owner} {many}"


def _same_side(nouns, voice, side, rng):
    one, many = pick(rng, nouns)
    return many if side == "both" else f"{side} {one}" if rng.random() < 0.6 else one


def _other_side(nouns, voice, side, rng):
    return f"{voice.owner} {_OTHER[side]} {pick(rng, nouns)[0]}"


_OTHER = {"left": "right", "right": "left"}
_SAY = {"own": _noun, "=": _same_side, "o": _other_side,
        "s": lambda nouns, voice, side, rng: nouns[0][1] if side == "both" else f"{side} {nouns[0][0]}",
        "verb": lambda forms, voice, side, rng: forms[voice.form],
        "p": lambda _, voice, side, rng: voice.owner,
        "self": lambda _, voice, side, rng: voice.reflexive,
        "L": lambda _, voice, side, rng: side,
        "O": lambda _, voice, side, rng: _OTHER[side]}

_KEEP = compile_phrase("*[keep|keep|hold|have]")
_DO = compile_phrase("*[do|do|do|hold|get into|go into]")
_STRIKE = compile_phrase("*[do|hold|strike|take|get into|assume]")
# subject, its pronoun, possessive, reflexive, verb form (1: "raises", 0: "raise")
PERSONS = ([(name, "he", "his", "himself", 1) for name in ("a man", "the man", "he", "he", "a guy", "a boy", "an old man", "the boy", "this man")]
           + [(name, "she", "her", "herself", 1) for name in ("a woman", "the woman", "she", "she", "a girl", "a lady", "the girl", "this woman")]
           + [(name, "he", "his", "himself", 1) for name in ("a person", "the person", "an athlete", "a dancer", "an actor")]
           + [(name, "she", "her", "herself", 1) for name in ("a person", "the person", "a dancer", "a gymnast", "an athlete")]
           + [(name, "they", "their", "themselves", 1) for name in ("a person", "the person", "someone", "somebody", "a human", "one person")]
           + [("the figure", "it", "its", "itself", 1), ("a figure", "it", "its", "itself", 1), ("they", "they", "their", "themselves", 0)]
           + [("you", "you", "your", "yourself", 0), ("i", "i", "my", "myself", 0)])


class Unit:
    """One thing to say: a block of the table, the side it is said of, and whether its part is one or two."""

    def __init__(self, block, side):
        self.block, self.side = block, side

    def verb(self, voice, rng):
        block = self.block
        if block["V"] and (not block["N"] or rng.random() < 0.75):
            return say(pick(rng, block["V"]), voice, self.side, rng)
        if block["N"]:
            name = self.name(voice, rng)
            frame = _STRIKE if name.endswith(("pose", "position", "stance")) else _DO
            return f"{say(frame, voice, None, rng)} {with_article(name)}"
        return f"{say(_KEEP, voice, None, rng)} {self.state(voice, rng)}"

    def state(self, voice, rng):
        noun, state = pick(rng, self.block["S"])
        return f"{say(noun, voice, self.side, rng)} {say(state, voice, self.side, rng)}"

    def sentence(self, voice, rng):
        noun, state = pick(rng, self.block["S"])
        noun = say(noun, voice, self.side, rng)
        verb = "are" if noun.rpartition(" ")[2] in _PLURALS else "is"
        return f"{noun} {verb} {say(state, voice, self.side, rng)}"

    def name(self, voice, rng):
        return say(pick(rng, self.block["N"]), voice, self.side, rng)

    def short(self, voice, rng):
        """The shortest: a name, a part and its state, or a gerund."""
        kinds = [kind for kind in "XXNSV" if self.block[kind]]
        kind = pick(rng, kinds)
        if kind == "S":
            return self.state(voice, rng)
        if kind == "V":
            return say(pick(rng, self.block["V"]), Voice(2, voice.owner, voice.reflexive), self.side, rng)
        return say(pick(rng, self.block[kind]), voice, self.side, rng)


def with_article(name):
    return ("an " if re.match("(?!one|u[^np])[aeiou]", name) else "a ") + name


def listed(items, rng):
    if len(items) == 1:
        return items[0]
    joint = pick(rng, (" and ", " and ", ", and ", ", "))
    return ", ".join(items[:-1]) + joint + items[-1]


def _clauses(units, voice, rng):
    """Verb phrases, then the rest as "with ..." or "while ...": "stand upright with your left arm raised"."""
    first, rest = units[0].verb(voice, rng), units[1:]
    if not rest:
        return first
    with_states = [unit for unit in rest if unit.block["S"] and rng.random() < 0.6]
    verbs = [unit for unit in rest if unit not in with_states]
    text = first
    if verbs:
        chance = rng.random()
        if chance < 0.2 and not with_states:
            gerund_voice = Voice(2, voice.owner, voice.reflexive)
            text += pick(rng, (" while ", ", ", " and at the same time " if voice.form == 2 else " while ")) + listed(
                [unit.verb(gerund_voice, rng) for unit in verbs], rng)
        else:
            text = listed([first] + [unit.verb(voice, rng) for unit in verbs], rng)
    if with_states:
        text += pick(rng, (" with ", ", with ", ", ")) + listed([unit.state(voice, rng) for unit in with_states], rng)
    return text


def imperative(units, rng):
    owner = pick(rng, ("your", "your", "your", "your", "the", ""))
    voice = Voice(0, owner)
    split = len(units) if len(units) < 3 or rng.random() < 0.6 else 1 + int(rng.random() * (len(units) - 1))
    text = _clauses(units[:split], voice, rng)
    if split < len(units):
        text += pick(rng, (". ", "; ", ". then ", ". also, ")) + _clauses(units[split:], voice, rng)
    opening = pick(rng, ("", "", "", "", "", "", "", "", "please ", "now ", "try to ", "just ", "can you ", "you should "))
    return ("please " if opening == "can you " and ". " in text else opening) + text


def third(units, rng):
    subject, pronoun, owner, reflexive, form = pick(rng, PERSONS)
    be = {"i": "am"}.get(subject, "is" if form else "are")
    going_on = rng.random() < 0.55
    voice = Voice(2 if going_on else form, owner, reflexive)
    split = len(units) if len(units) < 3 or rng.random() < 0.5 else 1 + int(rng.random() * (len(units) - 1))
    text = f"{subject} {be + ' ' if going_on else ''}{_clauses(units[:split], voice, rng)}"
    if split == len(units):
        return text
    rest = units[split:]
    if all(unit.block["S"] for unit in rest):
        return text + pick(rng, (". ", "; ", ", and ")) + listed([unit.sentence(voice, rng) for unit in rest], rng)
    form = 0 if pronoun in ("they", "you", "i") else 1
    return text + pick(rng, (". ", "; ", ", and ")) + f"{pronoun} {_clauses(rest, Voice(form, owner, reflexive), rng)}"


def gerunds(units, rng):
    return _clauses(units, Voice(2, pick(rng, ("the", "the", "your", "his", "her", "", "their"))), rng)


def telegraphic(units, rng):
    voice = Voice(2, pick(rng, ("", "", "", "the")))
    joint = pick(rng, (", ", ", ", ", ", "; ", " and ")) if len(units) < 3 else pick(rng, (", ", ", ", "; "))
    return joint.join(unit.short(voice, rng) for unit in units)


def noun_phrase(units, rng):
    subject, _, owner, reflexive, _ = pick(rng, PERSONS[:-5])
    subject = {"he": "a man", "she": "a woman"}.get(subject, subject)
    if rng.random() < 0.2:
        subject = re.sub("^(a|an|the|one|this) ", "", subject)
    first = units[0]
    rest = units[1:] if first.block["N"] and rng.random() < 0.5 else None
    if rest is not None:
        name = first.name(Voice(2, owner, reflexive), rng)
        text = pick(rng, (f"{with_article(name)}", f"{subject} in {with_article(name)}", name, with_article(name)))
        if not rest:
            return text
        voice = Voice(2, "the" if not text.startswith(subject) else owner, reflexive)
        states, others = [u for u in rest if u.block["S"]], [u for u in rest if not u.block["S"]]
        if others:
            text += ", " + listed([u.verb(voice, rng) for u in others], rng)
        return text + ((" with " if not others else ", ") + listed([u.state(voice, rng) for u in states], rng) if states else "")
    if all(unit.block["S"] for unit in units) and rng.random() < 0.6:
        subject, owner = pick(rng, ((subject, owner), ("a pose", "the"), ("a figure", "the"), ("someone", "their"), ("pose", "the")))
        return f"{subject} with {listed([unit.state(Voice(2, owner), rng) for unit in units], rng)}"
    start = pick(rng, ("", "", "", "", "", "picture of ", "a pose of ", "show me ", "the pose of ", "draw ", "make ", "i want "))
    return f"{start}{subject} {_clauses(units, Voice(2, owner, reflexive), rng)}"


def states(units, rng):
    """Whole sentences about parts: "the left arm is raised and both knees are bent"; what has no part is said first."""
    subject, pronoun, owner, reflexive, form = pick(rng, PERSONS)
    voice = Voice(form, pick(rng, (owner, "the", "your")), reflexive)
    plain = [unit for unit in units if unit.block["S"]]
    others = [unit for unit in units if not unit.block["S"]]
    if others:
        if voice.owner == "your":
            voice = Voice(form, owner, reflexive)
        text = f"{subject} {_clauses(others, voice, rng)}"
        return text + (pick(rng, (", and ", "; ", ". ")) + listed([unit.sentence(voice, rng) for unit in plain], rng) if plain else "")
    opening = pick(rng, ("", "", "", "", "", "a pose where ", "a pose in which ", "someone whose ")) if voice.owner == "the" else ""
    text = listed([unit.sentence(Voice(form, "", reflexive) if "whose" in opening else voice, rng) for unit in plain], rng)
    return opening + text


STYLES = ((imperative, 0.29), (third, 0.2), (gerunds, 0.11), (telegraphic, 0.2), (noun_phrase, 0.1), (states, 0.1))


def compose(units, rng):
    """The units as one caption in one style, spaced, cased and stopped as people type."""
    chance, place = rng.random(), 0
    if len(units) == 1 and rng.random() < 0.3:
        place = 3
    else:
        while chance > STYLES[place][1] and place < len(STYLES) - 1:
            chance -= STYLES[place][1]
            place += 1
    return finish(STYLES[place][0](units, rng), rng)


def finish(text, rng):
    text = re.sub(r"\bi\b", "I", re.sub(r" +", " ", text).strip().replace(" ,", ",").replace(" ;", ";").replace(" .", "."))
    chance = rng.random()
    if chance < 0.65:
        text = re.sub(r"(^|[.] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    if text.lower().startswith("can you"):
        return text + ("?" if rng.random() < 0.7 else "")
    if text[-1] not in ".!?" and rng.random() < 0.6:
        text += "." if rng.random() < 0.97 else "!"
    return text


def words_of(statements):
    """The lower-case words that captions made from this text (data/statements.txt) can hold."""
    text = " ".join(line[2:] for line in statements.splitlines() if line[:2] in ("V ", "S ", "N ", "X "))
    text += " *[keep|hold|have|do|strike|take|get into|go into|assume] draw make i want where which whose " + " ".join(" ".join(person[:4]) for person in PERSONS) + _FRAME_WORDS
    text = _star_each(text)
    verbs = {form for verb in re.findall(r"\*([\w-]+)", text) for form in (third_person(verb), gerund(verb))}
    nouns = {plural(noun) for found in re.findall(r"<(?:\w:|=)?([^>]*)>", text) for noun in found.split("|")}
    plain = re.sub(r"<(?:\w:|=)|\{\w+\}", " ", text.replace("{L}-", "left-") + text.replace("{L}-", "right-"))
    words = set(re.findall(r"[a-z0-9'-]+", plain.lower())) | {word for phrase in verbs | nouns for word in phrase.split()}
    return frozenset(words | {half for word in words for half in word.split("-") if half})


_FRAME_WORDS = (" please now try to just can you should then also at the same time while with and is are am a an both left right one "
                "picture of pose figure someone show me in something")
