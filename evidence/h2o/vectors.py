#!/usr/bin/env python3
"""Writes what the oracle says about made-up tokens to vectors/*.bin, for crates/engine/tests/all/h2o/oracle.rs.

    pip install numpy==2.4.6
    python3 vectors.py

The tokens are not stored: both sides make them from splitmix64, exactly (see `Source`). README.md
describes the format.
"""
import dataclasses as dc
import pathlib

import numpy as np

import oracle

F = np.float32
FOLDER = pathlib.Path(__file__).parent / "vectors"
EVERY = 16                      # outputs are kept of every 16th token, and of the last


class Source:
    """Floats in [-1, 1): 24 bits of splitmix64, so that f32 holds them exactly."""

    def __init__(self, seed):
        self.state = seed

    def floats(self, *shape):
        out = np.empty(int(np.prod(shape)), F)
        for i in range(out.size):
            self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
            x = self.state
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
            x ^= x >> 31
            out[i] = F(x >> 40) / F(2**23) - F(1)
        return out.reshape(shape)


@dc.dataclass
class Case:
    name: str
    heads: tuple                # query heads, kv heads, head_dim
    n: int
    w: int
    sinks: int
    pinned: int
    chunks: list
    decay: float = 1.0
    kind: str = "mixed"
    seed: int = 1


def tokens(case):
    """q [hq,T,d], k and v [hkv,P+T,d]. Every 11th token's key is drawn twice as far to what queries look for.

    `ties`: every 7th token takes all of the attention, the others get exactly none.
    """
    hq, hkv, d = case.heads
    source, P, T = Source(case.seed), case.pinned, sum(case.chunks)
    base = source.floats(hkv, 1, d)
    k = source.floats(hkv, P + T, d)
    v = source.floats(hkv, P + T, d)
    q = source.floats(hq, T, d)
    wide = np.repeat(base, hq // hkv, 0)
    at = np.arange(P + T)[None, :, None]
    if case.kind == "ties":
        return np.repeat(wide * F(16), T, 1), np.where(at % 7 == 0, base * F(16), k - base * F(16)), v
    return (wide + q) * F(2), np.where(at % 11 == 0, base * F(2), base) + k, v


def write(case):
    hq, hkv, d = case.heads
    q, k, v = tokens(case)
    P = case.pinned
    cfg = oracle.Cfg(hq, hkv, d, case.n, case.w, case.sinks, gk=d, gv=d, decay=case.decay)
    h = oracle.H2O(cfg, k[:, :P] if P else None, v[:, :P] if P else None)
    outputs, at = [], 0
    for T in case.chunks:
        outputs.append(h.step(q[:, at:at + T], k[:, P + at:P + at + T], v[:, P + at:P + at + T])[0])
        at += T
    o = np.concatenate(outputs, 1).transpose(1, 0, 2)
    kept = [t for t in range(at) if t % EVERY == EVERY - 1 or t == at - 1]
    gaps = [(nxt - max(sc)) / nxt for _, _, _, sc, nxt in h.log if 0 < nxt < np.inf]
    margin = min(gaps, default=np.inf)
    ties = any(nxt == max(sc) for _, _, _, sc, nxt in h.log)
    if case.kind == "mixed":
        assert margin > 2e-5, f"{case.name}: scores too close to call ({margin}): take another seed"
    else:
        assert ties
    chunks = ",".join(map(str, case.chunks))
    header = (f"h2o-oracle 1 heads={hq},{hkv},{d} n={case.n} w={case.w} sinks={case.sinks} pinned={P} "
              f"decay={case.decay} kind={case.kind} seed={case.seed} chunks={chunks}\n")
    parts = [np.array(sorted(lost), "<i4") for _, _, lost, _, _ in h.log]
    parts += [h.pos.astype("<i4"), h.acc.astype("<f4")]
    for keys, values in ((h.pk, h.pv), (h.k, h.v)):
        parts += [keys.x, keys.s.astype("<f2"), values.x, values.s.astype("<f2")]
    parts.append(o[kept].astype("<f4"))
    data = header.encode() + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    (FOLDER / f"{case.name}.bin").write_bytes(data)
    print(f"{case.name}: {len(data)} B, {len(h.log)} evictions, closest {margin:.1e}")


RAGGED = [31, 1, 17, 32, 2, 32, 32, 13]
CASES = [
    Case("group1-decode", (4, 4, 64), 48, 16, 4, 0, [1] * 160),
    Case("group1-chunk16", (4, 4, 64), 48, 16, 0, 24, [16] * 10, decay=0.98),
    Case("group3-decode", (9, 3, 64), 70, 20, 0, 24, [1] * 200),
    Case("group4-chunk7", (8, 2, 128), 64, 16, 4, 0, [7] * 22 + [6]),
    Case("group4-decode-decay", (8, 2, 64), 64, 32, 0, 24, [1] * 160, decay=0.98),
    Case("group5-decode", (10, 2, 128), 64, 16, 0, 24, [1] * 160),
    Case("group5-chunk32", (10, 2, 128), 96, 32, 4, 0, [32] * 6),
    Case("group5-ragged", (10, 2, 128), 96, 32, 0, 24, RAGGED),
    Case("group5-sinks-alone", (10, 2, 64), 20, 16, 4, 3, [1] * 20 + [9] * 6),
    Case("group7-ragged", (14, 2, 64), 80, 40, 4, 0, RAGGED, decay=0.98),
    Case("group7-decode", (7, 1, 128), 150, 75, 4, 3, [32] * 4 + [1] * 72),
    Case("group8-chunk16", (8, 1, 256), 64, 16, 0, 24, [16] * 9),
    Case("group8-decode", (8, 1, 256), 48, 24, 4, 0, [1] * 120),
    Case("not-full", (10, 2, 128), 200, 32, 0, 70, RAGGED),
    Case("ties-decode", (10, 2, 64), 48, 16, 0, 0, [1] * 120, kind="ties"),
    Case("ties-chunk7", (8, 2, 64), 48, 16, 4, 0, [7] * 17, kind="ties"),
]


def attention(tokens, seed):
    """One head's probabilities: some of the near past, some tokens that every query looks at."""
    at = np.arange(tokens)
    near = 4 / (1 + (at[:, None] - at[None]) ** 2 / 64)
    heavy = 0.05 / (1.02 - np.abs(Source(seed).floats(tokens).astype(float)))
    p = np.tril(near + heavy[None])
    p[:, 0] += 2
    return (p / p.sum(1, keepdims=True)).astype(F).astype(float)


def write_replays(tokens=300, seed=5):
    p = attention(tokens, seed)
    rows = [(n, w, sinks, decay, oracle.replay(p, n, w, sinks, decay))
            for n, windows in ((60, (1, 4, 15, 30, 50)), (150, (75,)), (300, (150,)))
            for w in windows for sinks, decay in ((4, 1.0), (0, 1.0), (4, 0.98))]
    lines = [f"{n},{w},{sinks},{decay},{mass:.12f}" for n, w, sinks, decay, mass in rows]
    head = f"# tokens={tokens} seed={seed}\nn,w,sinks,decay,mass\n"
    (FOLDER.parent / "replay.csv").write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    write_replays()
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        write(case)
