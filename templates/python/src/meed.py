"""Meed's contract in Python: queries, context, facts and decisions.

Everything here is pure; a rule has no clock, no randomness and no network. Instants are milliseconds since the Unix
epoch. The types of `wit_world` are generated from the contract when the plugin is built; `meed plugin build` leaves a
copy for your editor in build/work/bindings.
"""

import json
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import WitWorld
from wit_world.imports import log, types
from wit_world.imports.types import Context, Date, Issue, Streak

__all__ = [
    "Condition", "Context", "Date", "Decision", "Issue", "Streak", "attribute", "count", "distinct_days", "draw",
    "first", "grants", "last", "note", "start_of_day", "start_of_next_month", "start_of_next_week", "streak", "sum_of",
]


# ---- queries ----


class Query:
    """About activities: by default the claimant's own since the event's start."""

    def __init__(self, wire):
        self.wire = wire

    def _with(self, **members):
        return Query(type(self.wire)(replace(self.wire.value, **members)))

    def last_days(self, days):
        """A number of calendar days in the event's zone, today included: 1 is today."""
        return self._with(window=types.Window_LastDays(days))

    def since(self, instant):
        return self._with(window=types.Window_Since(instant))

    def all_time(self):
        """Its cost grows with the user's history."""
        return self._with(window=types.Window_AllTime())

    def filter(self, attribute, equals):
        """Only activities with this attribute, as text; several filters must all match."""
        return self._with(filters=[*self.wire.value.filters, types.Filter(attribute, equals)])

    def of_invitees(self):
        """The activities of all users that the claimant invited."""
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
    """The instant of the first one, or None."""
    return _activities(types.Query_First, kind)


def last(kind):
    """The instant of the last one, or None."""
    return _activities(types.Query_Last, kind)


def attribute(name):
    """An attribute of the user as text, or None."""
    return Query(types.Query_Attribute(name))


def grants():
    """The number of earlier grants of this event to this user."""
    return Query(types.Query_Grants())


# ---- decisions ----


class Decision:
    """Eligible until it is refused: one of each reward, unless `award` chooses."""

    def __init__(self):
        self.wire = types.Decision(types.Outcome.ELIGIBLE, [], [], types.Awards_All(), None)

    def refuse(self, code, message):
        """Makes the user not eligible yet. The code is for programs and never changes, the message is for people."""
        self.wire.outcome = types.Outcome.NOT_ELIGIBLE
        return self.reason(code, message)

    def review(self, code, message):
        """Leaves an eligible decision to a person."""
        if self.wire.outcome == types.Outcome.ELIGIBLE:
            self.wire.outcome = types.Outcome.NEEDS_REVIEW
        return self.reason(code, message)

    def reason(self, code, message):
        self.wire.reasons.append(types.Reason(code, message, []))
        return self

    def arg(self, name, value):
        """Adds a named value to the last reason, for translations of its message."""
        if self.wire.reasons:
            self.wire.reasons[-1].args.append(types.Argument(name, str(value)))
        return self

    def progress(self, key, current, target):
        """The user's progress towards a target; kept within 0 and the target."""
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
    """Writes a note for the author. It cannot affect a decision."""
    log.note(message)


def draw(seed, below):
    """A fair number from 0 to `below` - 1, the same for the same seed: the only source of randomness."""
    return int.from_bytes(seed, "big") % below


# ---- days ----


def start_of_day(context, days_ahead):
    """The first instant of a day in the event's zone: 0 is today, 1 is tomorrow.

    Exact across clock changes up to 400 days ahead.
    """
    return _start_of(context, _today(context) + timedelta(days=days_ahead))


def start_of_next_week(context):
    """The first instant of next Monday."""
    return start_of_day(context, 8 - context.local.weekday)


def start_of_next_month(context):
    return _start_of(context, (_today(context).replace(day=1) + timedelta(days=32)).replace(day=1))


def _today(context):
    today = context.local.date
    return date(today.year, today.month, today.day)


def _start_of(context, day):
    """The first instant at which the local clock shows this day's midnight or a later time."""
    midnight = (day - date(1970, 1, 1)).days * 86_400_000
    start = midnight
    for offset, following in zip(context.offsets, [*context.offsets[1:], None]):
        # Where the clock jumps over midnight, the day starts at the jump.
        start = max(midnight - offset.utc_offset_seconds * 1000, offset.starts)
        if following is None or start < following.starts:
            break
    return start


# ---- a rule ----


class Condition(WitWorld):
    """A rule: inherit from it and call the class `WitWorld`, the name that the build looks for."""

    name: str
    version: str
    title: str
    description: str
    #: Names of the progress keys for users.
    labels: dict = {}
    #: By BCP 47 tag: {"title": ..., "description": ..., "labels": {...}}. A label that is left out keeps the default.
    translations: dict = {}
    #: JSON Schema of the params. The server checks params against it before the rule runs; defaults are filled in here.
    params: dict

    def check(self, params):
        """Issues that the schema cannot express."""
        return []

    def plan(self, params):
        """Named queries, which depend on the params alone."""
        raise NotImplementedError

    def decide(self, params, facts, context):
        """The facts have the names of the queries."""
        raise NotImplementedError

    # -- the functions that the server calls --

    def describe(self):
        translations = [
            types.Translation(language, texts["title"], texts["description"], _labels(texts.get("labels", {})))
            for language, texts in self.translations.items()
        ]
        return types.Manifest(
            self.name, self.version, self.title, self.description,
            _labels(self.labels), translations, json.dumps(self.params),
        )

    def bond(self, params):
        # `bind` in the contract; `meed plugin build` renames it, see there.
        read = self._read(params)
        if issues := self.check(read):
            raise Err(issues)
        # The state is the text of the params: short, and fast to parse again.
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


def _labels(labels):
    return [types.Label(key, text) for key, text in labels.items()]
