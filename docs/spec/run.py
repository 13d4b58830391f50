"""Every check: first that each rule is needed (a counterexample without it), then that all hold with all rules.

`python run.py` runs the usual bounds, `python run.py big` wider ones too; the exit status says whether all went as expected.
"""
import sys

import boot, grow, poison, retire, returns, store, work
from mc import check

WORK, STORE, POISON = (work.Work, work.RULES), (store.Store, store.RULES), (poison.Poison, poison.RULES)
RETIRE, BOOT = (retire.Retire, retire.RULES), (boot.Boot, boot.RULES)
GROW, RETURNS = (grow.Grow, grow.RULES), (returns.Returns, returns.RULES)
NEEDED = [
    (STORE, 'header', dict(claim=2, write=2)), (STORE, 'tombstone', dict(claim=3, write=1)), (STORE, 'takeover', dict(claim=3, write=2)),
    (BOOT, 'order', dict(second=1, write=1)), (BOOT, 'again', dict(second=1, write=1)),
    (BOOT, 'above', dict(back=1, crash=1)), (BOOT, 'salt', dict(second=1, crash=1)),
    (WORK, 'facts', dict(queries=1, move=2)), (WORK, 'boot', dict(queries=1, move=1, crash=1)), (WORK, 'failed', dict(queries=1, fail=1)),
    (WORK, 'backlog', dict(queries=1, idle=1)), (WORK, 'watchdog', dict(queries=1, hang=1)), (WORK, 'heartbeat', dict(queries=1, hang=1)),
    (WORK, 'rewrite', dict(queries=1, move=1, lose=1)), (WORK, 'rewrite', dict(queries=1, fail=1, lose=1)), (WORK, 'topic', dict(queries=1, grow=1, scaler=1)),
    (WORK, 'low', dict(queries=2, freeze=1, delete=1)), (WORK, 'readback', dict(queries=1, move=1, DOUBLE=0)),
    (WORK, '', dict(queries=2, idle=1, noroom=1, mutant='return commits the end')), (WORK, '', dict(queries=1, crash=1, mutant='start at the end')),
    (RETIRE, 'group', {}), (RETIRE, 'inflight', {}), (RETIRE, 'names', {}),
    (GROW, 'level', dict(more=1, scaler=1)), (GROW, 'both', dict(more=1, scaler=1)),
    (RETURNS, 'returns', {}), (RETURNS, 'returns', dict(forged=('mallory', 2, 0))), (RETURNS, 'kept', {}), (RETURNS, 'excluded', {}),
    (POISON, 'deaths', dict(stop=2, kill=1)), (POISON, 'unknown', dict(machine=True)), (POISON, 'elsewhere', dict(broken=0)), (POISON, 'clear', dict(broken=0)),
]
HOLD = [(STORE, k) for k in (dict(claim=2, write=2), dict(claim=3, write=2), dict(claim=3, write=2, restart=1))]
HOLD += [(RETIRE, {}), (GROW, dict(more=3, scaler=2))]
HOLD += [(BOOT, k) for k in (dict(second=1, write=4), dict(second=1, crash=1, write=2, back=1), dict(second=1, crash=2, write=1, back=1))]
HOLD += [(RETURNS, k) for k in (dict(crash=2, noroom=1), dict(crash=2, noroom=1, forged=('mallory', 1, 3)))]
HOLD += [(POISON, k) for k in (
    dict(), dict(kill=1, stop=2), dict(freeze=1, stop=1), dict(freeze=1, kill=1, stop=1), dict(broken=0, stop=1), dict(machine=True, stop=1),
    dict(size=4, poison=(1, 2), kill=1, freeze=1), dict(size=4, poison=(), freeze=1, stop=2), dict(size=4, freeze=2, stop=1))]
HOLD += [(WORK, k) for k in (
    dict(queries=2, move=1), dict(queries=2, crash=1), dict(queries=2, freeze=1, move=1, delete=1), dict(queries=2, hang=1, fail=1),
    dict(queries=2, idle=1, noroom=1, scaler=1), dict(queries=1, idle=1, freeze=1), dict(queries=1, fail=2), dict(queries=1, move=2, crash=1),
    dict(queries=1, move=1, crash=1, scaler=1), dict(queries=1, crash=2), dict(queries=1, freeze=1, crash=1),
    dict(queries=1, hang=1, lose=1), dict(queries=1, move=1, lose=2), dict(queries=1, fail=1, lose=2), dict(queries=1, crash=1, lose=1), dict(queries=1, freeze=1, lose=1),
    dict(queries=1, grow=1, scaler=1, crash=1), dict(queries=1, freeze=1, idle=1, noroom=1, scaler=1), dict(queries=1, freeze=2))]
BIG = [(BOOT, dict(second=1, crash=2, write=3, back=1)), (WORK, dict(queries=2, move=1, lose=1)), (WORK, dict(queries=1, move=1, crash=1, lose=1)), (STORE, dict(scalers=3, claim=3, write=1)), (WORK, dict(queries=1, hang=1, fail=1, crash=1)),
       (WORK, dict(queries=1, parts=2, move=1, crash=1)), (WORK, dict(queries=2, parts=2, freeze=1)), (WORK, dict(queries=3, freeze=1, move=1))]


def go(kind, without, options):
    cls, rules = kind
    r = check(cls(rules - {without}, **options))
    error = r['error']
    print(f"{cls.__name__:8}{'without ' + without if without else 'all rules':18}{options}: {error or 'holds'} [{r['states']} states, {r['seconds']} s]", flush=True)
    if error and not error.startswith('CAPPED'):
        print('      ' + '\n      '.join(r['trace']), flush=True)
    return error


if __name__ == '__main__':
    wrong = [k for k in NEEDED if not go(*k)] + [(k, o) for k, o in HOLD + (BIG if 'big' in sys.argv else []) if go(k, '', o)]
    print('as expected' if not wrong else f'NOT AS EXPECTED: {wrong}')
    sys.exit(bool(wrong))
