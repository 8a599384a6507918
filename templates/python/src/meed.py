"""Meed's contract in Python: what a rule may ask, what it is told, and how it answers.

Everything here is pure; a rule has no clock, no randomness and no network. Instants are milliseconds since the Unix
epoch. The types of `wit_world` are made from the contract when the plugin is built; `meed plugin build` leaves a copy
for your editor in build/work/bindings.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import WitWorld
from wit_world.imports import log, types
from wit_world.imports.types import Context, Date, Issue, Streak

__all__ = [
    "Condition", "Context", "Date", "Decision", "Issue", "Streak", "attribute", "count", "distinct_days", "draw",
    "first", "grants", "last", "note", "streak", "sum_of",
]


# ---- what a rule asks ----


class Query:
    """About activities it means the claimant's own since the event began, unless told more."""

    def __init__(self, wire):
        self.wire = wire

    def _with(self, **members):
        return Query(type(self.wire)(replace(self.wire.value, **members)))

    def last_days(self, days):
        """So many calendar days in the event's zone, today included: 1 is today."""
        return self._with(window=types.Window_LastDays(days))

    def since(self, instant):
        return self._with(window=types.Window_Since(instant))

    def all_time(self):
        """Mind the cost: it grows with the user's history."""
        return self._with(window=types.Window_AllTime())

    def filter(self, attribute, equals):
        """Only activities with this attribute, as text; several filters must all hold."""
        return self._with(filters=[*self.wire.value.filters, types.Filter(attribute, equals)])

    def of_invitees(self):
        """The activities of all users whom the claimant invited."""
        return self._with(subject=types.Subject.INVITEES)


def _activities(query, kind):
    return Query(query(types.Selection(kind, types.Subject.CLAIMANT, types.Window_EventPeriod(), [])))


def count(kind):
    """The number of activities of a kind."""
    return _activities(types.Query_Count, kind)


def sum_of(kind):
    """The sum of their amounts, in minor units (cents)."""
    return _activities(types.Query_Sum, kind)


def distinct_days(kind):
    """The number of calendar days, in the event's zone, with at least one."""
    return _activities(types.Query_DistinctDays, kind)


def streak(kind):
    """Consecutive days with one; ask for one day more than you need, because a run may end yesterday."""
    return _activities(types.Query_Streak, kind)


def first(kind):
    """When the first one happened, or None."""
    return _activities(types.Query_First, kind)


def last(kind):
    """When the last one happened, or None."""
    return _activities(types.Query_Last, kind)


def attribute(name):
    """An attribute of the user as text, or None."""
    return Query(types.Query_Attribute(name))


def grants():
    """How often this user was granted this event before."""
    return Query(types.Query_Grants())


# ---- what a rule answers ----


class Decision:
    """Eligible, until a reason refuses it: one of each reward, unless `award` chooses."""

    def __init__(self):
        self.wire = types.Decision(True, [], [], types.Awards_All(), None)

    def refuse(self, code, message):
        """Makes it "not yet". The code is for programs and never changes, the message is for people."""
        self.wire.eligible = False
        return self.reason(code, message)

    def reason(self, code, message):
        self.wire.reasons.append(types.Reason(code, message))
        return self

    def progress(self, key, current, target):
        """How far the user is; kept within 0 and the target."""
        self.wire.progress.append(types.Progress(key, max(0, min(current, target)), target))
        return self

    def award(self, reward_id, quantity):
        if isinstance(self.wire.awards, types.Awards_All):
            self.wire.awards = types.Awards_Chosen([])
        self.wire.awards.value.append(types.Award(reward_id, quantity))
        return self

    def retry_at(self, instant):
        self.wire.retry_at = instant
        return self


def note(message):
    """A note for you, the author; it cannot sway a decision."""
    log.note(message)


def draw(seed, below):
    """A fair number from 0 to `below` - 1, the same for the same seed: the only source of chance."""
    return int.from_bytes(seed, "big") % below


# ---- a rule ----


class Condition(WitWorld):
    """A rule: inherit from it and call the class `WitWorld`, the name under which the server finds it."""

    name: str
    version: str
    title: str
    description: str
    #: JSON Schema of the params. The server checks it before the rule is asked; its defaults are filled in here.
    params: dict

    def check(self, params):
        """Issues that the schema cannot express."""
        return []

    def plan(self, params):
        """Named queries, which depend on nothing but the params."""
        raise NotImplementedError

    def decide(self, params, facts, context):
        """The facts have the names of the queries."""
        raise NotImplementedError

    # -- what the server calls --

    def describe(self):
        return types.Manifest(self.name, self.version, self.title, self.description, json.dumps(self.params))

    def bond(self, params):
        # `bind` in the contract; `meed plugin build` says why it has another name until then.
        read = self._read(params)
        if issues := self.check(read):
            raise Err(issues)
        # The state is the text of the params: short, and reading it again is quicker than any detour.
        return types.Binding([query.wire for query in self.plan(read).values()], params.encode())

    def evaluate(self, context, state, facts):
        params = self._read(state)
        values = (getattr(fact, "value", None) for fact in facts)
        told = SimpleNamespace(**dict(zip(self.plan(params), values, strict=True)))
        return self.decide(params, told, context).wire

    def _read(self, text):
        schemas = self.params["properties"].items()
        defaults = {name: schema["default"] for name, schema in schemas if "default" in schema}
        return SimpleNamespace(**(defaults | json.loads(text)))
