"""PyTorch's caching allocator as its documented rules have it, for one stream and default settings.

`c10/cuda/CUDACachingAllocator.cpp`: `round_size`, `get_pool`, `get_free_block`, `get_allocation_size`,
`should_split`, `free_block`, `try_merge_blocks`. What `torch.cuda.memory_allocated` and
`memory_reserved` would say are `allocated` and `reserved`; `requested` is the sum of what was asked for.

Run by itself it checks the rules: `python caching.py`.
"""

import bisect
import random
import re

KIB, MIB = 1 << 10, 1 << 20

MIN_BLOCK = 512  # kMinBlockSize: sizes are rounded to this
SMALL_SIZE = 1 * MIB  # kSmallSize: the largest size of the small pool
SMALL_BUFFER = 2 * MIB  # kSmallBuffer: segments of the small pool
MIN_LARGE_ALLOC = 10 * MIB  # kMinLargeAlloc: from here on a segment has one block's size
LARGE_BUFFER = 20 * MIB  # kLargeBuffer: segments of large blocks below that
ROUND_LARGE = 2 * MIB  # kRoundLarge: what a segment of one block is rounded to


def round_up(size, to):
    return -(-size // to) * to


def round_size(size):
    """The size of a block for `size` bytes."""
    return max(MIN_BLOCK, round_up(size, MIN_BLOCK))


def segment_size(size):
    """What is asked of `cudaMalloc` where no free block is large enough."""
    if size <= SMALL_SIZE:
        return SMALL_BUFFER
    if size < MIN_LARGE_ALLOC:
        return LARGE_BUFFER
    return round_up(size, ROUND_LARGE)


class Block:
    """A part of a segment; neighbours are linked."""

    __slots__ = ("address", "size", "asked", "free", "small", "before", "after")

    def __init__(self, address, size, small, before=None, after=None):
        self.address, self.size, self.small = address, size, small
        self.before, self.after = before, after
        self.asked, self.free = 0, False

    def key(self):
        """Free blocks are ordered by size, then address: the first that is large enough is the best fit."""
        return self.size, self.address


class OutOfMemory(Exception):
    """No free block is large enough, and the card has no room for a segment."""


class Allocator:
    """Segments, the free blocks of both pools, and the counters; on a card of `limit` bytes, if given."""

    def __init__(self, limit=None):
        self.limit = limit
        self.pools = {True: [], False: []}  # small? -> [(size, address, block)], sorted
        self.top = 0
        self.live = set()
        self.requested = self.allocated = self.reserved = 0
        self.peak_allocated = self.peak_reserved = 0
        self.segments = 0

    def malloc(self, asked):
        """A block, or none for nothing."""
        if not asked:
            return None
        size = round_size(asked)
        small = size <= SMALL_SIZE
        block = self.best_fit(size, small) or self.segment(size, small)
        if self.should_split(block, size):
            self.split(block, size)
        block.free, block.asked = False, asked
        self.live.add(block)
        self.requested += asked
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def best_fit(self, size, small):
        pool = self.pools[small]
        at = bisect.bisect_left(pool, (size, -1))
        return pool.pop(at)[2] if at < len(pool) else None

    def segment(self, size, small):
        got = segment_size(size)
        if self.limit is not None and self.reserved + got > self.limit:
            # `cudaMalloc` fails: what nothing lives in is returned, then it is tried again.
            self.empty_cache()
            if self.reserved + got > self.limit:
                raise OutOfMemory
        block = Block(self.top, got, small)
        self.top += got
        self.segments += 1
        self.reserved += got
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return block

    def should_split(self, block, size):
        """What a small block has left is used from 512 B on, of a large one from more than 1 MiB on."""
        left = block.size - size
        return left >= MIN_BLOCK if block.small else left > SMALL_SIZE

    def split(self, block, size):
        rest = Block(block.address + size, block.size - size, block.small, block, block.after)
        if rest.after:
            rest.after.before = rest
        block.after, block.size = rest, size
        self.put(rest)

    def put(self, block):
        block.free = True
        bisect.insort(self.pools[block.small], (*block.key(), block))

    def take(self, block):
        pool = self.pools[block.small]
        del pool[bisect.bisect_left(pool, (*block.key(),))]

    def free(self, block):
        """Returns a block, merged with free neighbours, to its pool; segments are kept."""
        if block is None:
            return
        self.live.remove(block)
        self.requested -= block.asked
        self.allocated -= block.size
        before, after = block.before, block.after
        if before and before.free:
            self.take(before)
            before.size += block.size
            before.after = after
            if after:
                after.before = before
            block = before
        if after and after.free:
            self.take(after)
            block.size += after.size
            block.after = after.after
            if after.after:
                after.after.before = block
        self.put(block)

    def empty_cache(self):
        """Returns segments that nothing lives in."""
        for pool in self.pools.values():
            whole = [entry for entry in pool if not entry[2].before and not entry[2].after]
            for entry in whole:
                pool.remove(entry)
                self.segments -= 1
                self.reserved -= entry[0]

    def check(self):
        """Every byte of every segment is in one block, and the counters say so."""
        free = sum(entry[0] for pool in self.pools.values() for entry in pool)
        held = sum(block.size for block in self.live)
        assert held == self.allocated and held + free == self.reserved
        assert sum(block.asked for block in self.live) == self.requested


def check_full_card():
    one = Allocator(limit=100 * MIB)
    first = one.malloc(40 * MIB)
    one.free(first)
    # The free 40 MiB are too small: they are returned for the 70 that are needed.
    one.malloc(70 * MIB)
    assert one.reserved == 70 * MIB
    try:
        one.malloc(40 * MIB)
    except OutOfMemory:
        return
    raise AssertionError("100 MiB hold no 110")


def check_constants(headers):
    """The constants are those of the headers that this PyTorch ships."""
    names = dict(
        kMinBlockSize=MIN_BLOCK, kSmallSize=SMALL_SIZE, kSmallBuffer=SMALL_BUFFER,
        kMinLargeAlloc=MIN_LARGE_ALLOC, kLargeBuffer=LARGE_BUFFER, kRoundLarge=ROUND_LARGE,
    )
    found = {}
    for header in headers.glob("c10/**/*Alloc*.h"):
        for name, value in re.findall(r"size_t (k\w+)\s*=\s*(\d+)", header.read_text()):
            found[name] = int(value)
    for name in names.keys() & found.keys():
        assert names[name] == found[name], (name, names[name], found[name])
    assert names.keys() & found.keys(), "no header has the constants"


def check_documented():
    """What PyTorch's own notes say about single allocations."""
    for asked, allocated, reserved in [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (1 * MIB, 1 * MIB, 2 * MIB),
        (1 * MIB + 1, 1 * MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        # A remainder of 1 MiB and less is not split off: it counts as allocated.
        (11 * MIB, 12 * MIB, 12 * MIB),
        (21 * MIB + 1, 22 * MIB, 22 * MIB),
        # cuBLAS's workspace comes from a segment of 20 MiB.
        (8_519_680, 8_519_680, 20 * MIB),
    ]:
        one = Allocator()
        block = one.malloc(asked)
        assert (one.allocated, one.reserved) == (allocated, reserved), (asked, one.allocated, one.reserved)
        one.free(block)
        assert (one.allocated, one.reserved) == (0, reserved)
        one.empty_cache()
        assert one.reserved == 0


def check_reuse():
    one = Allocator()
    first, second, third = (one.malloc(40 * MIB) for _ in range(3))
    one.free(second)
    # The smallest block that is large enough, cut where more than 1 MiB is left.
    part = one.malloc(30 * MIB)
    assert (part.address, part.size, one.reserved) == (40 * MIB, 30 * MIB, 120 * MIB)
    one.free(part)
    one.free(first)
    one.free(third)
    # Segments are never joined: 120 MiB are free, 41 are not to be had.
    one.malloc(41 * MIB)
    assert one.reserved == 162 * MIB


def check_random(seed):
    chance, one, live = random.Random(seed), Allocator(), []
    for _ in range(2000):
        if live and chance.random() < 0.45:
            one.free(live.pop(chance.randrange(len(live))))
        else:
            live.append(one.malloc(int(2 ** chance.uniform(0, 26))))
    one.check()
    for block in live:
        one.free(block)
    one.empty_cache()
    assert one.reserved == one.segments == 0 and not any(one.pools.values())


if __name__ == "__main__":
    check_documented()
    check_reuse()
    check_full_card()
    for seed in range(50):
        check_random(seed)
    print("the rules hold")
