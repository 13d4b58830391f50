"""A variant's topics grow in two steps, `work` and then `offline`; the scaler may die between them (DESIGN.md 10).

An instance that is given partition p reads p of both topics, and ends where one of them has no such partition.
`mid` = a scaler that has grown the one and is about to grow the other: nobody else knows.
"""
from collections import namedtuple

from mc import Model

S = namedtuple('S', 'wanted work offline mid assigned taken bud')
RULES = frozenset('level both'.split())


class Grow(Model):
    def init(self):
        return S(1, 1, 1, False, 1, 1, self.bud)

    def bad(self, s):
        if s.taken > min(s.work, s.offline):
            return 'CRASH: an instance took a partition that one of its topics does not have, and will in each life'

    def done(self, s):
        return s.taken == s.wanted

    def steps(self, s):
        if self.left(s, 'more'):
            yield '!one more partition is wanted', self.pay(s, 'more')._replace(wanted=s.wanted + 1)
        if s.work < s.wanted:
            yield 'scaler.grow work', s._replace(work=s.wanted, mid=True)
        if s.mid or ('level' in self.rules and s.offline < s.work):
            yield 'scaler.grow offline', s._replace(offline=s.work, mid=False)
        have = min(s.work, s.offline) if 'both' in self.rules else s.work
        if s.assigned < have and not (s.mid and 'both' not in self.rules):
            yield 'scaler.assign', s._replace(assigned=have)     # from the topics, never from its last assignment
        if s.taken < s.assigned:
            yield 'instance.take', s._replace(taken=s.assigned)
        if s.mid and self.left(s, 'scaler'):
            yield '!scaler dies between the two', self.pay(s, 'scaler')._replace(mid=False)
