"""A pool without a supervisor: who is to be forked is forked at once."""

from __future__ import annotations

from host.supervisor.workers.pool import (
    Pool,
)
from host.supervisor.workers.states import (
    ForkWorker,
    PoolPolicy,
)

START, DRAIN_TIME, PAUSE_MAX = 30.0, 20.0, 4.0


class Staff:
    """A pool whose orders to fork are carried out: slot n gets the pids 10n, 10n+1, …"""

    def __init__(self, workers=2, respawn=True, jitter=0.5, older=(), first=0):
        policy = PoolPolicy(workers, respawn, START, DRAIN_TIME, PAUSE_MAX, generation=first)
        self.pool = Pool(policy, older, jitter=lambda: jitter)
        self.now = 100.0
        self.generation = [first] * workers

    def do(self, actions):
        """Carry out orders to fork; return the actions, with pids in place of slots."""
        done = []
        for action in actions:
            if isinstance(action, ForkWorker):
                pid = 10 * action.slot + self.generation[action.slot]
                self.generation[action.slot] += 1
                self.pool.forked(action.slot, pid, self.now)
                done.append(("fork", pid))
            else:
                done.append(action)
        return done

    def start(self):
        return self.do(self.pool.start(self.now))

    def ready(self, pid):
        return self.do(self.pool.ready(pid, self.now))

    def exited(self, pid, code=None, number=None):
        return self.do(self.pool.exited(pid, code, number, self.now))

    def tick(self, after=0.0):
        self.now += after
        return self.do(self.pool.tick(self.now))

    def stop(self, **how):
        return self.do(self.pool.stop(self.now, **how))

    def drain(self, pid):
        return self.do(self.pool.drain(pid, self.now))

    def retire(self, pid):
        return self.do(self.pool.retire(pid, self.now))

    def hung(self, pid):
        return self.do(self.pool.hung(pid, self.now, "it hangs"))

    def scale(self, workers):
        return self.do(self.pool.scale(workers, self.now))

    def state(self, pid):
        return self.pool.records[pid].state


def running(workers=2, **how):
    """A pool whose first start is over."""
    staff = Staff(workers, **how)
    staff.start()
    for slot in range(workers):
        staff.ready(10 * slot)
    return staff
