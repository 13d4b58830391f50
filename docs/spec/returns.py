"""What travels with a query (DESIGN.md 2, 3, 10): queries, work of two variants, `returns`, and callers who forge headers.

A record is (place, caller, id, attempt, excluded): on `queries` the last three are what its headers claim, elsewhere what the
system wrote; a caller has one query, whose true id is the caller's name. Nobody ever runs variant 0; variant 1 may lose its place.
`tried` = the variants each query was really sent to, as bits. A stream that forwards all headers it got forges in good faith.
"""
from collections import namedtuple

from mc import Model, put

S = namedtuple('S', 'records replies tried room bud')
RULES = frozenset('returns kept excluded'.split())
CALLERS = ('alice', 'mallory')
ATTEMPTS = 2


class Returns(Model):
    def __init__(self, rules, forged=('alice', ATTEMPTS, 0), **budget):
        super().__init__(rules, **budget)
        self.forged = forged

    def init(self):
        return S((('queries', 'alice', None, 0, 0), ('queries', 'mallory') + self.forged), frozenset(), (0, 0), True, self.bud)

    def bad(self, s):
        for caller, name, outcome in s.replies:
            if name != caller:
                return f"WRONG: the reply to {caller}'s query goes by the id of {name}: it answers somebody else's, or nobody's"
            if outcome == 'no_instance' and s.tried[CALLERS.index(caller)] != 3:
                return f"WRONG: {caller}'s query was refused for want of an instance, and was not sent to each variant"

    def done(self, s):
        return {(c, c) for c in CALLERS} <= {r[:2] for r in s.replies}

    def steps(self, s):
        for n, record in enumerate(s.records):
            place, caller, name, attempt, excluded = record
            rest = s._replace(records=s.records[:n] + s.records[n + 1:])
            if place in ('queries', 'returns'):
                yield f'router.{place} {caller}', self.route(rest, *record)
                if self.left(s, 'crash'):       # the record is there again for the next router
                    yield f'!router dies before its commit of {caller} in {place}', self.route(self.pay(s, 'crash'), *record)
            elif place == 1 and s.room:
                yield f'instance.reply {caller}', self.reply(rest, caller, name, 'ok')
            else:
                bits = excluded | 1 << place if 'excluded' in self.rules else excluded
                yield f'scaler.return {caller}', self.put(rest, ('returns', caller, name, attempt + 1, bits))
        if s.room and self.left(s, 'noroom'):
            yield '!variant 1 loses its place', self.pay(s, 'noroom')._replace(room=False)

    def put(self, s, record):
        return s._replace(records=tuple(sorted({*s.records, record}, key=repr)))

    def reply(self, s, caller, name, outcome):
        return s._replace(replies=s.replies | {(caller, name, outcome)})

    def route(self, s, place, caller, name, attempt, excluded):
        if place == 'returns':
            believed = 'kept' in self.rules
        else:                                   # without the rule: whatever says that it has travelled is believed
            believed = 'returns' not in self.rules and attempt
        if not believed:
            # a new query is known by its own topic, partition and offset
            name, attempt, excluded = caller if place == 'queries' else 'nobody', 0, 0
        left = [v for v in (0, 1) if not excluded >> v & 1]
        if attempt >= ATTEMPTS or not left:
            return self.reply(s, caller, name, 'no_instance')
        i = CALLERS.index(caller)
        return self.put(s._replace(tried=put(s.tried, i, s.tried[i] | 1 << left[0])), (left[0], caller, name, attempt, excluded))
