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

    def __init__(self, tiles, blocks, stages, *, empty_count=2, first=0):
        self.tiles, self.blocks, self.stages, self.first = tiles, blocks, stages, first
        # Slots of "q" are the two consumers', block i is tile i.
        sizes = {"q": 2, "k": stages, "v": stages}
        self.full = {x: [Barrier(1) for _ in range(n)] for x, n in sizes.items()}
        counts = {"q": 1, "k": empty_count, "v": empty_count}
        self.empty = {x: [Barrier(counts[x]) for _ in range(n)] for x, n in sizes.items()}
        self.turn = [Barrier(1), Barrier(1)]
        self.slots = {x: [None] * n for x, n in sizes.items()}
        self.reading = {x: [0] * n for x, n in sizes.items()}
        self.copies = []
        self.done = [0, 0]

    def begin_reading(self, x, slot, block):
        assert self.slots[x][slot] == block, f"{x} {block} is not in its slot"
        self.reading[x][slot] += 1

    def end_reading(self, x, slot, block):
        assert self.slots[x][slot] == block, f"{x} {block} was overwritten"
        self.reading[x][slot] -= 1
        self.empty[x][slot].arrive()

    def overwrite(self, x, slot, block):
        assert not self.reading[x][slot], f"{x} {block} overwrites what is being read"
        self.slots[x][slot] = "on the way"
        self.full[x][slot].bytes += 1
        self.copies.append((x, slot, block))
        self.full[x][slot].arrive()

    def land(self, copy):
        x, slot, block = copy
        self.copies.remove(copy)
        self.slots[x][slot] = block
        self.full[x][slot].bytes -= 1
        self.full[x][slot].turn_over()


def produce(program):
    """Yield (barrier, parity) to wait, None to give way."""
    stages = program.stages
    for i in range(program.tiles):
        for j in range(program.blocks):
            b = i * program.blocks + j
            for x, w in (("k", 0), ("v", 1)):
                if j == 0:
                    yield program.empty["q"][w], (i & 1) ^ 1
                    program.overwrite("q", w, i)
                yield program.empty[x][b % stages], ((b // stages) & 1) ^ 1
                program.overwrite(x, b % stages, b)
                yield None


def consume(program, w):
    for i in range(program.tiles):
        yield from consume_tile(program, w, i, i * program.blocks)
        program.done[w] += 1


def consume_tile(program, w, i, first):
    stages, other, last = program.stages, program.turn[1 - w], first + program.blocks - 1

    def full(x, b):
        return program.full[x][b % stages], (b // stages) & 1

    yield program.full["q"][w], i & 1
    program.begin_reading("q", w, i)
    yield full("k", first)
    program.begin_reading("k", first % stages, first)
    yield None
    program.end_reading("k", first % stages, first)
    for b in range(first, last + 1):
        if b == last:
            program.end_reading("q", w, i)
        yield program.turn[w], (b & 1) ^ (w == program.first)
        yield full("v", b)
        program.begin_reading("v", b % stages, b)
        yield None
        if b == last:
            other.arrive()
            yield None
            program.end_reading("v", b % stages, b)
            break
        yield full("k", b + 1)
        program.begin_reading("k", (b + 1) % stages, b + 1)
        yield None
        program.end_reading("v", b % stages, b)
        yield None
        other.arrive()
        yield None
        program.end_reading("k", (b + 1) % stages, b + 1)


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
    assert program.done == [program.tiles] * 2


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_order_ends_and_reads_what_it_should(stages):
    rng = random.Random()
    for tiles, blocks in ((1, 1), (1, 2), (1, 3), (1, 9), (2, 1), (3, 2), (2, 3), (5, 1), (3, 5)):
        for _ in range(8):
            program = Program(tiles, blocks, stages)
            run(program, rng)
            assert not program.copies


@pytest.mark.parametrize("broken", [{"empty_count": 1}, {"first": None}])
def test_a_wrong_count_or_parity_is_seen(broken):
    rng = random.Random()
    with pytest.raises(AssertionError):
        for _ in range(200):
            run(Program(2, 9, 2, **broken), rng)
