"""What is told to who gave something that cannot be used, in one line."""


class InputError(ValueError):
    """Something the user gave cannot be used: the value, the rule, the way out, in one line."""


def in_short(error, limit=300):
    """What an error of a library's says, in one line of at most so many letters."""
    return " ".join(str(error).split())[:limit]
