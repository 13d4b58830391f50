"""The work queue (DESIGN.md 6, 8, 10): owners, hand-over, commits without fencing, returns, late sends.

`rules` are the sentences the design needs beyond its first text; without one the checker shows what goes wrong.
The view of a supervisor is a snapshot taken at some earlier time (it is always a prefix of the metadata topic).
A committed offset is overwritten by whoever commits, backwards or forwards, as real Kafka does for assign().
The write of a fact may fail (`lose`): the supervisor is told so, whether or not the record arrived after all.
"""
from collections import namedtuple

from mc import Model, put

S = namedtuple('S', 'inq log low com settled replied asg fact wrk ver view sup inst orphan ret room want cover topic bud')
Meta = namedtuple('Meta', 'asg fact wrk ver')
RULES = frozenset('boot facts failed backlog watchdog heartbeat topic low readback rewrite'.split())
ATTEMPTS = 2
WAITING = ('denied', 'unsure')


class Work(Model):
    """asg[p] = (owner, the owner before it), an owner is (worker, boot); fact[w] = (boot, taken, released, failed), p as bits;
    inst[w][p] = (next offset, uncommitted work?), or what is not consumed: denied (read back too late), unsure (its fact failed);
    sup[w] = (boot, up|frozen|down, instance ok|hung|idle|failed): hung in a batch, hung without one, failed with its fact lost;
    ret = what the leader and a deposed leader are returning: (p, next, end); wrk, ver = worker/, verdict/ boot ids."""

    def __init__(self, rules, queries=2, parts=1, mutant=None, **budget):
        super().__init__(rules, **budget)
        self.queries, self.parts, self.mutant = queries, parts, mutant    # mutants: does the checker see a wrong build?

    def init(self):
        two, parts = (0, 1), range(2)
        asg = tuple(((0, 1), None) if p < self.parts else (None, None) for p in parts)
        fact, wrk, ver = tuple((1, 0, 0, False) for _ in two), (1, 1), (0, 0)
        return S(tuple((q, 0) for q in range(self.queries)), ((), ()), (0, 0), (0, 0), (0, 0), 0, asg, fact, wrk, ver,
                 (Meta(asg, fact, wrk, ver),) * 2, ((1, 'up', 'ok'),) * 2, ((None, None),) * 2, None, (None, None), True,
                 True, self.parts, self.parts, self.bud)

    # ---- what must hold
    def bad(self, s):
        for p in (0, 1):
            if ~s.settled[p] & ((1 << s.com[p]) - 1):
                return '1: the committed offset passed an unanswered record'
            if ~s.settled[p] & ((1 << s.low[p]) - 1):
                return '1: an unanswered record was deleted'
            if 'readback' in self.rules or 'DOUBLE' in self.names:      # two owners of which neither is void
                if all(s.inst[w][p] and s.inst[w][p][0] not in WAITING and not self.void(Meta(s.asg, s.fact, s.wrk, s.ver), (w, s.sup[w][0])) for w in (0, 1)):
                    return '2: two valid owners consume the same partition'
            if 'low' not in self.rules and s.com[p] < s.low[p]:
                return 'FALSE ALARM: committed is below the low watermark, yet nothing was lost'

    def done(self, s):
        return s.replied == (1 << self.queries) - 1

    # ---- helpers
    def void(self, m, owner):
        """Is this owner known not to run? m is a picture of metadata."""
        if owner is None:
            return True
        w, b = owner
        if m.ver[w] == b:
            return True
        if 'boot' in self.rules and m.wrk[w] != b:
            return True
        return 'failed' in self.rules and m.fact[w][0] == b and m.fact[w][3]

    def may_start(self, m, w, p):
        """A new owner starts after ..."""
        if 'facts' in self.rules:    # no instance that still counts has it in its facts, whoever owned it before
            return not any(x != w and m.fact[x][1] >> p & 1 and not self.void(m, (x, m.fact[x][0])) for x in (0, 1))
        before = m.asg[p][1]         # as first written: the old owner's fact says released, or a verdict
        if before is None or before[0] == w or self.void(m, before):
            return True
        x, b = before
        return m.fact[x][0] == b and bool(m.fact[x][2] >> p & 1)

    def settle(self, s, p, at, reply):
        q = s.log[p][at][0]
        return s._replace(settled=put(s.settled, p, s.settled[p] | 1 << at), replied=s.replied | (1 << q if reply else 0))

    # ---- who does what
    def steps(self, s):
        for group in (self.router, self.scaler, self.returns, self.workers, self.orphans, self.faults):
            yield from group(s)

    def router(self, s):
        """Views are stale at will: any query may go to any partition the topic has, at any time, whoever runs."""
        for n, (q, att) in enumerate(s.inq):
            rest = s.inq[:n] + s.inq[n + 1:]
            if att + 1 > ATTEMPTS - 1:
                yield f'router.reject q{q}', s._replace(inq=rest, replied=s.replied | 1 << q)
                continue
            for p in range(s.topic):
                t = s._replace(inq=rest, log=put(s.log, p, s.log[p] + ((q, att),)))
                yield f'router.send q{q}', t
                yield f'router.send and want q{q}', t._replace(want=True)

    def placeable(self, s):
        return [w for w in (0, 1) if s.room and s.wrk[w] and s.ver[w] != s.wrk[w] and not (s.fact[w][0] == s.wrk[w] and s.fact[w][3])]

    def scaler(self, s):
        m = Meta(s.asg, s.fact, s.wrk, s.ver)
        places = self.placeable(s)
        for w in (0, 1):
            if s.sup[w][1] != 'up' and s.wrk[w] == s.sup[w][0] and s.ver[w] != s.wrk[w]:
                yield f'scaler.verdict w{w}', s._replace(ver=put(s.ver, w, s.wrk[w]))
        for p in range(s.cover):
            owner = s.asg[p][0]
            backlog = max(s.com[p], s.low[p]) < len(s.log[p])
            if s.com[p] > s.low[p] and self.left(s, 'delete'):
                yield f'!scaler deletes p{p} below {s.com[p]}', self.pay(s, 'delete')._replace(low=put(s.low, p, s.com[p]))
            if self.void(m, owner):
                wanted = s.want or ('backlog' in self.rules and backlog)
                for w in places if wanted else ():
                    yield f'scaler.assign p{p}', s._replace(asg=put(s.asg, p, ((w, s.wrk[w]), owner or s.asg[p][1])))
                if owner is not None and not (wanted and places):
                    yield f'scaler.unassign p{p}', s._replace(asg=put(s.asg, p, (None, owner)))
                if owner is None and backlog and not places and s.ret[0] is None:
                    yield f'scaler.return p{p}', s._replace(ret=put(s.ret, 0, (p, max(s.com[p], s.low[p]), len(s.log[p]))))
            elif self.left(s, 'move'):
                for w in places:
                    if (w, s.wrk[w]) != owner:
                        yield f'!move p{p} to w{w}', self.pay(s, 'move')._replace(asg=put(s.asg, p, ((w, s.wrk[w]), owner)))
        if s.cover < s.topic and 'topic' in self.rules:
            yield 'scaler.cover', s._replace(cover=s.topic)

    def returns(self, s):
        for i, r in enumerate(s.ret):
            who = ('scaler', 'zombie-scaler')[i]
            if r and r[1] < r[2]:
                p, at, end = r
                q, att = s.log[p][at]
                t = self.settle(s, p, at, False)._replace(inq=tuple(sorted(s.inq + ((q, att + 1),))))
                yield f'{who}.reproduce', t._replace(ret=put(s.ret, i, (p, at + 1, end)))
            elif r:
                end = len(s.log[r[0]]) if self.mutant == 'return commits the end' else r[2]
                yield f'{who}.commit p{r[0]}@{end}', s._replace(ret=put(s.ret, i, None), com=put(s.com, r[0], end))

    def workers(self, s):
        now = Meta(s.asg, s.fact, s.wrk, s.ver)
        for w in (0, 1):
            boot, mode, engine = s.sup[w]
            if mode == 'frozen':
                yield f'w{w}.wake', s._replace(sup=put(s.sup, w, (boot, 'up', engine)))
            if mode != 'up':
                continue
            v = s.view[w]
            if v != now:
                yield f'w{w}.sync', s._replace(view=put(s.view, w, now))
            if v.ver[w] == boot:      # it reads its own verdict
                yield f'w{w}.reboot on verdict', self.reboot(s, w)
                continue
            f = self.fact_of(s, w)
            for p in (0, 1):
                mine, held = v.asg[p][0] == (w, boot), s.inst[w][p]
                if held is None:
                    if mine and engine == 'ok' and not f[3] and self.may_start(v, w, p):
                        taken = self.take(s, w, p, now)
                        yield f'w{w}.take p{p}', taken
                        yield from self.lost(s, f'w{w} takes p{p}', self.hold(s, w, p, ('unsure', False)), taken.fact)
                elif engine in ('hung', 'idle'):
                    # a batch that is overdue tells of itself; one that hangs idle is known only by its silence
                    if ('watchdog' if engine == 'hung' else 'heartbeat') in self.rules:
                        killed = self.drop_all(s, w, False)
                        yield f'w{w}.kill hung', killed
                        yield from self.lost(s, f'w{w} kills hung', killed._replace(fact=s.fact), killed.fact)
                else:
                    at, dirty = held
                    if at == 'unsure':     # nothing is consumed on a fact that may not be there
                        if 'rewrite' in self.rules and mine and self.may_start(v, w, p):
                            yield f'w{w}.rewrite p{p}', self.take(s, w, p, now)
                        elif 'rewrite' in self.rules:
                            yield f'w{w}.take back p{p}', self.freed(s, w, p)
                        continue
                    if at == 'denied':
                        yield f'w{w}.take back p{p}', self.freed(s, w, p)
                        continue
                    if at < len(s.log[p]):
                        yield f'w{w}.run p{p}@{at}', self.hold(self.settle(s, p, at, True), w, p, (at + 1, True))
                    if dirty:
                        yield f'w{w}.commit p{p}@{at}', self.hold(s, w, p, (at, False))._replace(com=put(s.com, p, at))
                    elif not mine:
                        freed = self.freed(s, w, p)
                        yield f'w{w}.release p{p}', freed
                        yield from self.lost(s, f'w{w} releases p{p}', freed._replace(fact=s.fact), freed.fact)
            taken = sum(1 << p for p in (0, 1) if s.inst[w][p])
            if 'rewrite' in self.rules and (engine == 'failed' or f[1] & ~taken):
                # its own keys in the view are compared with what is so: what is no longer taken, or has failed
                yield f'w{w}.rewrite', s._replace(fact=put(s.fact, w, (boot, f[1] & taken, f[2] | f[1] & ~taken, f[3] or engine == 'failed')),
                                                  sup=put(s.sup, w, (boot, mode, 'ok' if engine == 'failed' else engine)))

    def fact_of(self, s, w):
        boot = s.sup[w][0]
        return s.fact[w] if s.fact[w][0] == boot else (boot, 0, 0, False)

    def take(self, s, w, p, now):
        boot, _, released, failed = f = self.fact_of(s, w)
        start = len(s.log[p]) if self.mutant == 'start at the end' else max(s.com[p], s.low[p])
        # its record lands behind all others: reading it back, it knows whether it came too late
        late = 'readback' in self.rules and not (now.asg[p][0] == (w, boot) and self.may_start(now, w, p))
        return self.hold(s, w, p, ('denied' if late else start, False))._replace(
            fact=put(s.fact, w, (boot, f[1] | 1 << p, released & ~(1 << p), failed)))

    def freed(self, s, w, p):
        boot, taken, released, failed = self.fact_of(s, w)
        return self.hold(s, w, p, None)._replace(fact=put(s.fact, w, (boot, taken & ~(1 << p), released | 1 << p, failed)))

    def lost(self, s, label, after, fact):
        """The delivery of a fact fails: the supervisor goes on as `after`, the record is not in the log, or is."""
        if self.left(s, 'lose'):
            yield f'!{label}, its fact is lost', self.pay(after, 'lose')
            yield f'!{label}, its fact arrives though it was reported as failed', self.pay(after, 'lose')._replace(fact=fact)

    def hold(self, s, w, p, x):
        return s._replace(inst=put(s.inst, w, put(s.inst[w], p, x)))

    def drop_all(self, s, w, failed):
        boot, f = s.sup[w][0], self.fact_of(s, w)
        return s._replace(inst=put(s.inst, w, (None, None)), sup=put(s.sup, w, s.sup[w][:2] + ('ok',)),
                          fact=put(s.fact, w, (boot, 0, f[2] | f[1], failed)))

    def reboot(self, s, w):
        """Its old facts stay in the log: the new boot need not run the same instances, so nothing overwrites them."""
        boot = s.sup[w][0] + 1
        return s._replace(sup=put(s.sup, w, (boot, 'up', 'ok')), wrk=put(s.wrk, w, boot), inst=put(s.inst, w, (None, None)))

    def orphans(self, s):
        """A child that outlives its supervisor for a while: it goes on, and commits what it did."""
        if s.orphan:
            p, at, dirty = s.orphan
            if at < len(s.log[p]):
                yield f'!orphan runs p{p}@{at}', self.settle(s, p, at, True)._replace(orphan=(p, at + 1, True))
            if dirty:
                yield f'!orphan commits p{p}@{at}', s._replace(orphan=(p, at, False), com=put(s.com, p, at))
            yield 'orphan.exit', s._replace(orphan=None)

    def faults(self, s):
        for w in (0, 1):
            boot, mode, engine = s.sup[w]
            if mode == 'up' and self.left(s, 'crash'):
                t = self.pay(s, 'crash')
                orphans = [(p,) + h for p, h in enumerate(s.inst[w]) if h and h[0] not in WAITING and engine == 'ok' and not s.orphan]
                for o in [s.orphan] + orphans:
                    gone = t._replace(orphan=o, inst=put(s.inst, w, (None, None)), sup=put(s.sup, w, (boot, 'down', 'ok')))
                    yield f'!w{w} dies' + (' leaving an orphan' if o else ''), gone
                    yield f'!w{w} dies and is back with a new boot id' + (' leaving an orphan' if o else ''), self.reboot(gone, w)
            if mode == 'up' and self.left(s, 'freeze'):
                yield f'!w{w} freezes', self.pay(s, 'freeze')._replace(sup=put(s.sup, w, (boot, 'frozen', engine)))
            if mode == 'up' and engine == 'ok' and any(h for h in s.inst[w]) and self.left(s, 'hang'):
                busy = any(h and h[0] not in WAITING and h[0] < len(s.log[p]) for p, h in enumerate(s.inst[w]))
                for how in ('hung', 'idle') if busy else ('idle',):
                    yield f'!w{w} instance hangs' + (' in a batch' if how == 'hung' else ''), self.pay(s, 'hang')._replace(sup=put(s.sup, w, (boot, mode, how)))
            if mode == 'up' and engine != 'failed' and s.fact[w][::3] != (boot, True) and self.left(s, 'fail'):
                failed = self.drop_all(self.pay(s, 'fail'), w, True)
                yield f'!w{w} instance fails for good', failed
                yield from self.lost(s, f'w{w} instance fails for good', failed._replace(fact=s.fact, sup=put(s.sup, w, (boot, mode, 'failed'))), failed.fact)
        if self.left(s, 'noroom') and s.room:
            yield '!no room from now on', self.pay(s, 'noroom')._replace(room=False)
        if self.left(s, 'idle'):
            yield '!scaled to zero', self.pay(s, 'idle')._replace(want=False, asg=tuple((None, a[0] or a[1]) for a in s.asg))
        if self.left(s, 'scaler'):
            t = self.pay(s, 'scaler')._replace(want=False)
            yield '!scaler dies', t._replace(ret=(None, s.ret[1]))
            if s.ret[0] and not s.ret[1]:
                yield '!scaler is deposed in the middle of a return', t._replace(ret=(None, s.ret[0]))
        if self.left(s, 'grow') and s.topic < 2:
            t = self.pay(s, 'grow')
            yield '!topic grows', t._replace(topic=2, cover=2)
            if self.left(s, 'scaler'):
                yield '!topic grows, scaler dies before the assignment', self.pay(t, 'scaler')._replace(topic=2)
