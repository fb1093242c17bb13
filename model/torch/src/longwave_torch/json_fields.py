"""Reads a JSON object field by field and collects every problem, as model/weights/json_fields
does."""

import json

SHOWN = 100  # characters of a value that messages show


class ConfigError(ValueError):
    """A file with problems: all of them, one a line, each naming key, value and what is
    accepted."""


def parse_object(text):
    """The object in a JSON text. ConfigError: not JSON, not an object, or a key that appears
    twice."""

    def unique(pairs):
        names = [name for name, _ in pairs]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"the key {sorted(twice)[0]!r} appears twice in one object")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON near byte {error.pos}") from error
    if not isinstance(value, dict):
        raise ConfigError("not a JSON object")
    return value


class Fields:
    """One object's fields. Problems go to a list that nested objects share; call `refuse_unknown`
    last."""

    def __init__(self, values, prefix="", problems=None):
        self.values = values
        self.prefix = prefix
        self.problems = [] if problems is None else problems
        self.known = set()

    def has(self, key):
        return key in self.values

    def refuse(self, key, accepted):
        if key in self.values:
            shown = json.dumps(self.values[key])
            shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
            self.problems.append(f"{self.prefix}{key} = {shown}: accepted: {accepted}")
        else:
            self.problems.append(f"{self.prefix}{key} is missing: accepted: {accepted}")

    def _take(self, key, sound, accepted, fallback):
        """The value if it is sound, else the fallback; without a fallback the key is required."""
        self.known.add(key)
        value = self.values.get(key)
        if key in self.values and sound(value):
            return value
        if key in self.values or fallback is None:
            self.refuse(key, accepted)
        return fallback

    def integer(self, key, fallback, low, high):
        """An integer in [low, high]. Without a fallback it is required, and 0 stands for a wrong
        one."""

        def sound(value):
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

        return self._take(key, sound, f"an integer from {low} to {high}", fallback) or 0

    def number(self, key, fallback, high):
        """A number in (0, high]."""

        def sound(value):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return is_number and 0 < value <= high

        value = self._take(key, sound, f"a number above 0 and at most {high:g}", fallback)
        return float(value or 0)

    def boolean(self, key, fallback):
        return self._take(key, lambda v: isinstance(v, bool), "true or false", fallback)

    def choice(self, key, fallback, names):
        value = self._take(
            key, lambda v: isinstance(v, str) and v in names, ", ".join(names), fallback
        )
        return value or names[0]

    def integers(self, key, low, high):
        """A list of integers in [low, high]; absent: empty."""

        def sound(value):
            return isinstance(value, list) and all(
                isinstance(v, int) and not isinstance(v, bool) and low <= v <= high for v in value
            )

        return self._take(key, sound, f"a list of integers from {low} to {high}", [])

    def object(self, key):
        """A nested object; absent: an empty one."""
        value = self._take(key, lambda v: isinstance(v, dict), "an object", {})
        return Fields(value, f"{self.prefix}{key}.", self.problems)

    def unused(self, key, why):
        """A key that says nothing here: a problem if it is present."""
        self.known.add(key)
        if key in self.values:
            self.problems.append(f"{self.prefix}{key} is not used {why}")

    def refuse_unknown(self):
        known = ", ".join(sorted(self.known))
        for key in self.values:
            if key not in self.known:
                self.problems.append(f"{self.prefix}{key} is not a known key: known: {known}")
