"""The barriers of the Gluon kernel, in random orders: nobody waits for ever, nobody reads too late.

A model of gluon_forward.py's three partitions: what they wait for, signal, read and overwrite.
Barriers have the hardware's semantics: a wait for a parity passes once the current phase has the
other one. Copies land, and products read, at any time between their issue and their completion.
"""

import random

import pytest


class Barrier:
    def __init__(self, count):
        self.count, self.left, self.bytes, self.phase = count, count, 0, 0

    def arrive(self):
        assert self.left > 0, "more arrivals than a phase has"
        self.left -= 1
        self.turn_over()

    def turn_over(self):
        if self.left == 0 and self.bytes == 0:
            self.left, self.phase = self.count, self.phase + 1

    def passed(self, parity):
        return self.phase % 2 != parity


class Program:
    """What the kernel shares: slots, the block in each and its readers, barriers, copies."""

    def __init__(self, blocks, stages, *, lead, drain, turns, empty_count=2, first=0):
        self.blocks, self.stages, self.first = blocks, stages, first
        self.lead, self.drain, self.turns = lead, drain, turns
        self.q_full = Barrier(1)
        self.full = {x: [Barrier(1) for _ in range(stages)] for x in "kv"}
        self.empty = {x: [Barrier(empty_count) for _ in range(stages)] for x in "kv"}
        self.turn = [Barrier(1), Barrier(1)]
        self.slots = {x: [None] * stages for x in "kv"}
        self.reading = {x: [0] * stages for x in "kv"}
        self.copies = []
        self.done = [0, 0]

    def begin_reading(self, x, block):
        slot = block % self.stages
        assert self.slots[x][slot] == block, f"{x} {block} is not in its slot"
        self.reading[x][slot] += 1

    def end_reading(self, x, block):
        slot = block % self.stages
        assert self.slots[x][slot] == block, f"{x} {block} was overwritten"
        self.reading[x][slot] -= 1

    def overwrite(self, x, block):
        slot = block % self.stages
        assert not self.reading[x][slot], f"{x} {block} overwrites what is being read"
        self.slots[x][slot] = "on the way"
        self.full[x][slot].bytes += 1
        self.copies.append((x, block))

    def land(self, copy):
        x, block = copy
        self.copies.remove(copy)
        if x == "q":
            self.q_full.bytes -= 1
            self.q_full.turn_over()
            return
        slot = block % self.stages
        self.slots[x][slot] = block
        self.full[x][slot].bytes -= 1
        self.full[x][slot].turn_over()


def produce(program):
    """Yield (barrier, parity) to wait, None to give way."""
    program.q_full.bytes += 1
    program.q_full.arrive()
    program.copies.append(("q", 0))
    for j in range(program.blocks):
        slot, parity = j % program.stages, ((j // program.stages) & 1) ^ 1
        for x in "kv":
            yield program.empty[x][slot], parity
            program.overwrite(x, j)
            program.full[x][slot].arrive()
            yield None


def consume(program, w):
    stages, other = program.stages, program.turn[1 - w]

    def full(x, j):
        return program.full[x][j % stages], (j // stages) & 1

    def hand_over(left):
        if program.turns and left == program.lead:
            other.arrive()

    yield program.q_full, 0
    yield full("k", 0)
    program.begin_reading("k", 0)
    yield None
    program.end_reading("k", 0)
    program.empty["k"][0].arrive()
    for j in range(program.blocks):
        last = j == program.blocks - 1
        if program.turns:
            yield program.turn[w], (j & 1) ^ (w == program.first)
        yield full("v", j)
        program.begin_reading("v", j)
        yield None
        if last:
            if program.turns:
                other.arrive()
            yield None
            program.end_reading("v", j)
            break
        hand_over(3)
        if program.drain:
            program.end_reading("v", j)
            program.empty["v"][j % stages].arrive()
        yield full("k", j + 1)
        program.begin_reading("k", j + 1)
        yield None
        if not program.drain:
            program.end_reading("v", j)
            program.empty["v"][j % stages].arrive()
        for left in (2, 1, 0):
            hand_over(left)
            yield None
        program.end_reading("k", j + 1)
        program.empty["k"][(j + 1) % stages].arrive()
    program.done[w] = program.blocks


def run(program, rng):
    """Let the partitions and the copies proceed in a random order, some favoured for a while."""
    partitions = [produce(program), consume(program, 0), consume(program, 1)]
    waits = dict.fromkeys(partitions)
    favour = {}
    while True:
        ready = [p for p, wait in waits.items() if wait is None or wait[0].passed(wait[1])]
        choices = [*ready, *program.copies]
        if not choices:
            assert not waits, "deadlock"
            break
        if rng.random() < 0.1:
            favour = {x: rng.random() ** 4 for x in (*partitions, "copy")}
        weights = [favour.get("copy" if isinstance(x, tuple) else x, 0.5) + 1e-3 for x in choices]
        chosen = rng.choices(choices, weights)[0]
        if isinstance(chosen, tuple):
            program.land(chosen)
            continue
        try:
            waits[chosen] = next(chosen)
        except StopIteration:
            del waits[chosen]
    assert program.done == [program.blocks] * 2 or program.blocks == 0


ORDERS = [
    {"lead": lead, "drain": drain, "turns": turns}
    for lead, drain, turns in [
        (0, False, True),
        (1, True, True),
        (2, False, True),
        (3, True, True),
        (3, False, False),
    ]
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_order_ends_and_reads_what_it_should(order, stages):
    rng = random.Random()
    for blocks in (1, 2, 3, 4, 5, 8, 13):
        for _ in range(12):
            program = Program(blocks, stages, **order)
            run(program, rng)
            assert not program.copies


@pytest.mark.parametrize("broken", [{"empty_count": 1}, {"first": None}])
def test_a_wrong_count_or_parity_is_seen(broken):
    rng = random.Random()
    with pytest.raises(AssertionError):
        for _ in range(200):
            run(Program(9, 2, **{**ORDERS[1], **broken}), rng)
