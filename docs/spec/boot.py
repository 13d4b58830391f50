"""Supervisors under one worker name (DESIGN.md 4, 6): one hangs and is replaced, both start at once, the clock steps back.

log = boot ids (number, salt) of the records under `worker/<name>`, by offset; a reader ignores what is older than one before
it, and compaction keeps the last: only a boot id that is the greatest and the last counts. A supervisor reads the table,
takes an id, writes, and reads on at its own pace; it is a slot: off, down (to be started), gone (it saw a newer one) or (id, at, written).
"""
from collections import namedtuple

from mc import Model, put

S = namedtuple('S', 'log slots clock bud')
RULES = frozenset('above salt order again'.split())


class Boot(Model):
    def init(self):
        return S(((1, 0),), (((1, 0), 1, True), 'off'), 2, self.bud)

    def bad(self, s):
        return None

    def done(self, s):       # one goes on, it has read everything, and what counts is its own
        alive = [x for x in s.slots if isinstance(x, tuple)]
        return 'down' not in s.slots and len(alive) == 1 and max(s.log) == s.log[-1] == alive[0][0] and alive[0][1] == len(s.log)

    def steps(self, s):
        for i, x in enumerate(s.slots):
            if x == 'down':
                yield f'boot{i}.starts', self.start(s, i)
            elif x == 'off' and self.left(s, 'second'):
                yield '!a second supervisor starts', self.start(self.pay(s, 'second'), i)
            elif isinstance(x, tuple):
                yield from self.run(s, i, *x)
        if self.left(s, 'back') and s.clock:
            yield '!the clock steps back', self.pay(s, 'back')._replace(clock=0)

    def start(self, s, i):
        number = max(s.log)[0] + 1 if 'above' in self.rules else s.clock
        return s._replace(slots=put(s.slots, i, ((number, i if 'salt' in self.rules else 0), len(s.log), False)), clock=s.clock + 1)

    def run(self, s, i, me, at, written):
        if at < len(s.log):
            seen, t = s.log[at], s._replace(slots=put(s.slots, i, (me, at + 1, written)))
            if seen != me and (seen > me or 'order' not in self.rules):
                t = t._replace(slots=put(t.slots, i, 'gone'))
            elif seen != me and written and 'again' in self.rules:
                t = t._replace(log=t.log + (me,))
            yield f'boot{i}.read', t
        if not written:
            yield f'boot{i}.writes {me}', s._replace(log=s.log + (me,), slots=put(s.slots, i, (me, at, True)))
        elif self.left(s, 'write'):
            yield f'!boot{i} writes its state', self.pay(s, 'write')._replace(log=s.log + (me,))
        if self.left(s, 'crash'):
            yield f'!boot{i} dies', self.pay(s, 'crash')._replace(slots=put(s.slots, i, 'down'))
