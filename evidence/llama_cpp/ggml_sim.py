#!/usr/bin/env python3
"""The compute buffer of llama.cpp on one GPU, from shapes alone: a small copy of ggml-alloc (best fit, in-place reuse) run over the
graph that llama.cpp builds for each class of architecture. Every tensor below is a tensor of that graph; sizes in bytes.
   compute(model, n_ctx, n_ubatch, n_seq_max=1, flash_attn=True, type_k="f16", type_v="f16", n_outputs=None, kv_unified=False, swa_full=False)
   -> (device bytes, host bytes)
model is a dict as in shapes.py. n_outputs None: one a sequence (llama-server); n_batch: the library's default (llama-bench, llama-perplexity, bindings).
layers: simulate only so many layers (the last one always); the whole model is exact, few layers may miss where holes line up differently."""
INPLACE = {"scale", "add", "add_id", "mul", "div", "sub", "sqr", "sqrt", "unary", "rope", "rms_norm", "clamp", "soft_max"}   # ggml_op_can_inplace
DEBUG = False
QUANT = {"q8_0": (32, 34), "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24)}

class T:
    __slots__ = ("op", "src", "size", "ne", "view", "kind", "strided", "extra", "name", "out")
    def __init__(self, op, src, ne, esz=4, view=None, kind="dev", strided=False, extra=0, name="", out=False):
        self.op, self.src, self.ne, self.view, self.kind, self.strided, self.name, self.out = op, [s for s in src if s is not None], tuple(ne), view, kind, strided, name, out
        n = esz
        for x in ne: n *= x
        self.size, self.extra = n, extra
W = T("none", [], (1,), kind="ext", name="W")       # a weight, or a view of the cache: memory that is already there

class Alloc:                                        # ggml_dyn_tallocr, one chunk
    def __init__(self, align): self.align, self.free, self.max = align, [[0, 1 << 62]], 0
    def pad(self, n): return -(-n // self.align) * self.align
    def alloc(self, size):
        size = self.pad(size); best = None
        for i, (o, s) in enumerate(self.free[:-1]):
            if s >= size and (best is None or s <= self.free[best][1]): best = i
        if best is None: best = len(self.free) - 1
        o, s = self.free[best]
        if s == size: self.free.pop(best)
        else: self.free[best] = [o + size, s - size]
        self.max = max(self.max, o + size)
        return o
    def release(self, o, size):
        size = self.pad(size)
        if not size: return
        f = self.free; f.append([o, size]); f.sort()
        i = f.index([o, size])
        if i + 1 < len(f) and f[i][0] + f[i][1] == f[i + 1][0]: f[i][1] += f[i + 1][1]; f.pop(i + 1)
        if i and f[i - 1][0] + f[i - 1][1] == f[i][0]: f[i - 1][1] += f[i][1]; f.pop(i)

class Graph:
    def __init__(self): self.nodes, self.seen, self.inputs, self.deps = [], set(), [], []
    def expand(self, t):                            # ggml_build_forward_expand: depth first, sources left to right
        st = [(t, 0)]
        while st:
            t, i = st.pop()
            if i == 0:
                if id(t) in self.seen: continue
                self.seen.add(id(t))
            if i < len(t.src): st += [(t, i + 1), (t.src[i], 0)]
            elif t.op != "none": self.nodes.append(t)

def plan(g, align=128):                             # ggml_gallocr_alloc_graph_impl over the device's part of the scheduler's graph
    copies, order = {}, []
    for t in g.nodes:
        if t.kind != "dev": continue
        for s in t.src:
            if s.kind == "host" and id(s) not in copies:
                copies[id(s)] = T("none", [], s.ne, kind="dev", name="copy of " + s.name)
                copies[id(s)].size = s.size; order.append(copies[id(s)])
    src = {}
    seq = [("in", c) for c in order]
    until = {}
    for t, u in g.deps: until.setdefault(id(u), []).append(t)
    for t in g.nodes:
        if t.kind != "dev": continue
        src[id(t)] = [copies.get(id(s), s) for s in t.src]
        seq.append(("op", t))
        if id(t) in until: seq.append(("dep", until[id(t)]))
    children, views, addr, size = {}, {}, {}, {}
    root = lambda t: copies.get(id(t.view), t.view)
    for k, t in seq:
        if k == "op":
            if t.view is not None: views[id(root(t))] = views.get(id(root(t)), 0) + 1
            for s in src[id(t)]: children[id(s)] = children.get(id(s), 0) + 1
        elif k == "dep":
            for s in t: children[id(s)] = children.get(id(s), 0) + 1
    al = Alloc(align)
    def same_layout(a, b): return a.ne == b.ne and not a.strided and not b.strided
    def place(t):
        if id(t) in addr or t.view is not None or t.kind != "dev": return
        need = t.size + t.extra
        if t.op in INPLACE:
            for p in src[id(t)]:                    # (a parent that is a view is never "own", so only real tensors are reused)
                if p.view is not None or p.kind != "dev" or id(p) not in addr or p.out or not same_layout(t, p): continue
                if children.get(id(p), 0) == 1 and views.get(id(p), 0) == 0:
                    addr[id(t)], size[id(t)] = addr.pop(id(p)), need
                    if al.pad(size[id(p)]) > al.pad(need): al.release(addr[id(t)] + al.pad(need), al.pad(size[id(p)]) - al.pad(need))
                    return
        was = al.max
        addr[id(t)], size[id(t)] = al.alloc(need), need
        if DEBUG and al.max > was: print("  %.4f" % (al.max / 2**20), t.name or t.op, need, "at", addr[id(t)], "free", [f for f in al.free[:-1] if f[1] > 20000])
    def drop(t):
        if t.out or id(t) not in addr: return
        al.release(addr.pop(id(t)), size[id(t)])
    for k, t in seq:
        if k == "in": place(t); continue
        ss = t if k == "dep" else src[id(t)]
        if k == "op":
            for s in ss:
                if s.kind == "dev" and s.op == "none": place(s)
            place(t)
        for s in ss:
            children[id(s)] -= 1
            if children[id(s)] == 0 and views.get(id(s), 0) == 0:
                if s.view is not None:
                    r = root(s); views[id(r)] -= 1
                    if views[id(r)] == 0 and children.get(id(r), 0) == 0: drop(r)
                else: drop(s)
    return al.max

def compute(m, n_ctx, ub, n_seq=1, fa=True, tk="f16", tv="f16", n_out=None, unified=False, swa_full=False, layers=None):
    a, L, H, nh, kv, hd, F, V = (m[k] for k in ("arch", "L", "H", "nh", "kv", "hd", "F", "V"))
    L -= m.get("nextn", 0)
    n_ctx = -(-n_ctx // 256) * 256
    n_ctx_seq = n_ctx if unified else -(-(n_ctx // n_seq) // 256) * 256
    if not unified: n_ctx = n_ctx_seq * n_seq
    ub = min(ub, n_ctx); ub_cache = ub
    n_out = n_seq if n_out is None else min(n_out, ub)
    ub = -(-ub // n_seq) * n_seq
    st = 1 if unified else n_seq                                       # streams of the cache
    cells = {0: n_ctx_seq if not unified else n_ctx}
    swa = m.get("swa", 0) if a != "phi3" else 0
    if swa: cells[1] = cells[0] if swa_full else -(-min(cells[0], swa * (n_seq if unified else 1) + ub_cache) // 256) * 256
    if a == "gpt-oss" or a == "gemma2": is_swa = lambda i: i % 2 == 0
    elif a == "gemma3": is_swa = lambda i: (i + 1) % 6 != 0
    else: is_swa = lambda i: False
    hybrid = "nk" in m
    g = Graph(); host = []
    def inp(name, n, esz):
        t = T("none", [], (n,), esz, kind="host", name=name); host.append(t); return t
    view = lambda t, ne, strided=False: T("view", [t], ne, view=t.view if t.view is not None else t, strided=strided, kind="ext" if (t.view or t).kind == "ext" else t.kind)
    mm = lambda x, n, name="": T("mul_mat", [W, x], (n, x_tok(x)), name=name)
    def x_tok(x): return x.ne[-1]
    op = lambda o, s, ne=None, **k: T(o, s, ne or s[0].ne, **k)
    norm = lambda x, w=True: op("mul", [op("rms_norm", [x]), W]) if w else op("rms_norm", [x])
    # inputs
    tokens = inp("inp_tokens", ub, 4); inp("inp_embd", ub * H, 4)     # (both ways of giving the input are always there)
    embd = T("get_rows", [W, tokens], (H, ub), kind="host", name="embd"); host.append(embd)
    g.expand(embd)
    pos = inp("inp_pos", ub * (4 if hybrid and a != "qwen3next" else 1), 4)
    rows, V_T = {}, not fa and a != "deepseek2"
    kvd = kv * hd
    nrot_of = lambda d: next(x for x in (512, 256, 128, 64) if d % x == 0)
    def cache_inputs(w):
        r = dict(k=inp("k_idxs", ub, 8), v=inp("v_idxs", ub * (kvd if V_T else 1), 8) if a != "deepseek2" else None,
                 mask=inp("kq_mask", cells[w] * ub, 2 if fa else 4))
        if a != "deepseek2":
            if tk in QUANT and hd % 64 == 0: n = nrot_of(hd); r["kr"] = inp("k_rot", n * n, 4); r["krn"] = n
            if tv in QUANT and hd % 64 == 0: r["vr"] = inp("v_rot", 64 * 64, 4); r["vrn"] = 64
        rows[w] = r
    cache_inputs(0)
    if swa: cache_inputs(1)
    if hybrid: s_copy = inp("rs_s_copy", n_seq, 4)
    out_ids = inp("out_ids", n_out, 4)
    def had(x, rot, n):                                                # llama_mul_mat_hadamard
        ne = x.ne; tot = 1
        for d in ne: tot *= d
        x = T("cont", [x], (n, tot // n)) if x.strided else view(x, (n, tot // n))
        return view(T("mul_mat", [rot, x], (n, tot // n)), ne)
    def mha(q, w, sinks=False, hk=hd, hv=hd, nkv=kv, vmla=None, softcap=False, vview=False):
        r = rows[w]; n = cells[w]
        qv = view(view(q, (hk, nh, ub // st, st)), (hk, ub // st, nh, st), strided=True)
        if fa:
            ex = 0; base = 4 * hv * nh * ub
            p = lambda x: -(-x // 128) * 128
            end = base
            vec = ub // st <= 2 and hk in (64, 128, 256) and tk == tv      # the vector kernel reads quantised caches itself (compute capability 8.9+; 1 token before)
            if tk in QUANT and not vec: end = p(end) + 2 * hk * nkv * n * st
            if tv in QUANT and not vview and not vec: end = p(end) + 2 * hv * nkv * n * st
            cur = T("flash_attn", [qv, W, W, r["mask"]], (hv, nh, ub), extra=end - base, name="fattn")
            if vmla:
                cur = view(cur, (hv, ub, nh), strided=True)
                cur = T("mul_mat", [W, cur], (vmla, ub, nh)); cur = view(cur, (vmla, nh, ub), strided=True)
                cur = T("cont", [cur], (vmla, nh, ub)); hv = vmla
            cur = view(cur, (hv * nh, ub))
        else:
            kq = T("mul_mat", [W, qv], (n, ub // st, nh, st), name="kq")
            if softcap: kq = op("scale", [op("unary", [op("scale", [kq])])])
            kq = op("soft_max", [kq, r["mask"]])
            if vview: vc = T("cont", [W], (n, hv, nkv, st), 2, name="v_cont")
            else: vc = W
            kqv = T("mul_mat", [vc, kq], (hv, ub // st, nh, st))
            if vmla: kqv = T("mul_mat", [W, kqv], (vmla, ub // st, nh, st)); hv = vmla
            cur = T("cont", [view(kqv, (hv, nh, ub // st, st), strided=True)], (hv * nh, ub))
        g.expand(cur)
        return cur
    def store(k, v, w):
        r = rows[w]
        g.expand(T("set_rows", [view(k, (kvd, ub)), r["k"], W], (1,), view=W, kind="dev"))
        if V_T:
            v = view(v, (kvd, ub)) if not v.strided else T("cont", [v], (kvd, ub))
            g.expand(T("set_rows", [view(v, (1, kvd * ub)), r["v"], W], (1,), view=W))
        else: g.expand(T("set_rows", [view(v, (kvd, ub)), r["v"], W], (1,), view=W))
    def attn_kv(q, k, v, w, wo=H, order="qvk", **kw):
        r = rows[w]
        if "kr" in r: q, k = had(q, r["kr"], r["krn"]), had(k, r["kr"], r["krn"])
        if "vr" in r: v = had(v, r["vr"], r["vrn"])
        for c in order: g.expand(dict(q=q, k=k, v=v)[c])
        store(k, v, w)
        cur = mha(q, w, **kw)
        if "vr" in r: cur = had(cur, r["vr"], r["vrn"])
        if wo: cur = mm(cur, wo)
        return cur
    def ffn(x, F):
        up = mm(x, F, "ffn_up"); gate = mm(x, F, "ffn_gate")
        return mm(T("glu", [gate, up], (F, x_tok(x)), name="ffn_glu"), H, "ffn_out")
    def moe(x, gating, norm_w, scale, bias=False, ebias=False):
        E, U, Fe = m["E"], m["U"], m["Fe"]; n = x_tok(x)
        logits = mm(x, E, "logits")
        if bias: logits = op("add", [logits, W])
        probs = op("soft_max" if gating == "softmax" else "unary", [logits]) if gating != "softmax_weight" else logits
        sel = op("add", [probs, W]) if ebias else probs
        ids = view(T("argsort", [sel], (E, n), name="argsort"), (U, n), strided=True)
        weights = T("get_rows", [view(probs, (1, E, n)), ids], (1, U, n), name="weights")
        if gating == "softmax_weight": weights = view(op("soft_max", [view(weights, (U, n))]), (1, U, n))
        if norm_w:
            w2 = view(weights, (U, n))
            s = op("clamp", [T("sum_rows", [w2], (1, n))])
            weights = view(op("div", [w2, s]), (1, U, n))
        if scale: weights = op("scale", [weights])
        i0 = len(g.nodes); g.expand(weights)
        fused = []
        if gating != "softmax_weight" and ((E & (E - 1)) == 0 and E <= 512 or E in (288, 576)):   # ggml_backend_cuda_graph_optimize: topk-moe
            fused = g.nodes[next(i for i in range(i0, len(g.nodes)) if g.nodes[i] is probs):]
        x3 = view(x, (H, 1, n))
        up = T("mul_mat_id", [W, x3, ids], (Fe, U, n), name="moe_up")
        if bias: up = T("add_id", [up, W, ids], (Fe, U, n))
        gate = T("mul_mat_id", [W, x3, ids], (Fe, U, n), name="moe_gate")
        if bias: gate = T("add_id", [gate, W, ids], (Fe, U, n))
        down = T("mul_mat_id", [W, T("glu", [gate, up], (Fe, U, n), name="moe_glu"), ids], (H, U, n), name="moe_down")
        if bias: down = T("add_id", [down, W, ids], (H, U, n))
        k0 = len(g.nodes)
        ex = op("mul", [down, weights], name="moe_weighted"); g.expand(ex)
        if fused:                                                     # keep the nodes and their sources until the node after the last
            for t in fused:
                for s in [t] + t.src:
                    if s.kind == "dev" and (s, g.nodes[k0]) not in g.deps: g.deps.append((s, g.nodes[k0]))
        vs = [view(ex, (H, n), strided=True) for _ in range(U)]
        for v in vs: g.expand(v)
        o = vs[0]
        for v in vs[1:]: o = T("add", [o, v], (H, n)); g.expand(o)
        if 2 <= U <= 15:                                              # ... and the MoE weighted reduction
            for s in (down, weights): g.deps.append((s, o))
        return o
    nq = nh * hd
    def qkv(x):
        if a == "phi3":
            f = mm(x, nq + 2 * kvd, "qkv")
            return [view(f, (hd, k, ub), strided=True) for k in (nh, kv, kv)]
        q, k, v = mm(x, nq, "q"), mm(x, kvd, "k"), mm(x, kvd, "v")
        if m.get("qkvb") or a == "gpt-oss": q, k, v = (op("add", [t, W]) for t in (q, k, v))
        return view(q, (hd, nh, ub)), view(k, (hd, kv, ub)), view(v, (hd, kv, ub))
    rope = lambda x: T("rope", [x, pos], x.ne)
    def linear_attention(x):                                          # gated delta net
        nk, nv, ds = m["nk"], m["nv"], m["ds"]; cd = 2 * nk * ds + nv * ds; ts = ub // n_seq
        qkvm = view(mm(x, cd, "qkv_mixed"), (cd, ts, n_seq)); z = mm(x, nv * ds, "z")
        if a == "qwen3next":
            ba = view(mm(x, 2 * nv), (2 * nv // nk, nk, ts, n_seq))
            b = T("cont", [view(ba, (nv // nk, nk, ts, n_seq), strided=True)], (nv // nk, nk, ts, n_seq))
            beta = op("unary", [b]); al = T("cont", [view(ba, (nv // nk, nk, ts, n_seq), strided=True)], (nv, ts, n_seq))
        else:
            beta = op("unary", [view(mm(x, nv), (1, nv, ts, n_seq))]); al = view(mm(x, nv), (nv, ts, n_seq))
        gate = op("mul", [op("unary", [op("add", [al, W])]), W])
        if a == "qwen3next": beta = view(beta, (1, nv, ts, n_seq))
        gate = view(gate, (1, nv, ts, n_seq))
        def rs(size):
            g.expand(T("scale", [W], (0,), view=W))
            s = T("get_rows", [W, s_copy], (size, n_seq)); g.expand(s)
            g.expand(T("cpy", [T("get_rows", [W, s_copy], (size, 0)), W], (1,), view=W))
            return s
        cs = view(rs(3 * cd), (3, cd, n_seq))
        ci = T("concat", [cs, view(qkvm, (ts, cd, n_seq), strided=True)], (ts + 3, cd, n_seq), name="conv_input")
        g.expand(T("cpy", [view(ci, (3, cd, n_seq), strided=True), W], (1,), view=W))
        state = view(rs(ds * ds * nv), (ds, ds, nv, n_seq))
        co = op("unary", [T("ssm_conv", [ci, W], (cd, ts, n_seq))])
        q, k, v = (view(co, (ds, h, ts, n_seq), strided=True) for h in (nk, nk, nv))
        q, k = l2(q), l2(k)
        r = T("gdn", [q, k, v, gate, beta, state], (ds * nv, ts * n_seq + ds * n_seq), name="gdn")
        o = view(r, (ds, nv, ts, n_seq)); ns = view(r, (ds, ds, nv, n_seq))
        g.expand(T("cpy", [ns, W], (1,), view=W))
        z = view(z, (ds, nv, ts, n_seq))
        o = op("mul", [norm(o), op("unary", [z])])
        return view(mm(view(o, (ds * nv, ub)), H), (H, ub))
    l2 = lambda x: op("scale", [op("rms_norm", [x])])
    x = embd
    if a.startswith("gemma"): x = op("scale", [x])
    early = a not in ("gpt-oss", "qwen35", "qwen35moe", "qwen3next")   # last layer keeps only the output rows
    idx = list(range(L)) if layers is None or L <= layers else list(range(layers - 1)) + [L - 1]
    for il in idx:
        res = x
        cur = norm(x)
        if hybrid: g.expand(cur)
        w = 1 if swa and is_swa(il) else 0
        if hybrid and (il + 1) % 4 != 0: cur = linear_attention(cur)
        elif hybrid:
            qf, k, v = mm(cur, 2 * nq, "q_full"), mm(cur, kvd, "k"), mm(cur, kvd, "v")
            q = norm(view(qf, (hd, nh, ub), strided=True))
            k = norm(view(k, (hd, kv, ub)))
            gt = T("cont", [view(qf, (hd, nh, ub), strided=True)], (nq, ub)); v = view(v, (hd, kv, ub))
            cur = attn_kv(rope(q), rope(k), v, w, wo=None)
            cur = mm(op("mul", [cur, op("unary", [gt])]), H)
        elif a == "deepseek2":
            lo, ro, no, vh = m["lora"], m["rope"], m["nope"], m["vh"]
            q = view(mm(cur, nh * (no + ro), "q"), (no + ro, nh, ub)); c = mm(cur, lo + ro, "kv_cmpr_pe")
            kc = view(c, (lo, ub), strided=True); kp = view(c, (ro, 1, ub), strided=True)
            kp = T("rope", [kp, pos], (ro, 1, ub)); kc = op("mul", [op("rms_norm", [kc]), W])
            qp = T("rope", [view(q, (ro, nh, ub), strided=True), pos], (ro, nh, ub))
            qa = T("mul_mat", [W, view(view(q, (no, nh, ub), strided=True), (no, ub, nh), strided=True)], (lo, ub, nh), name="q_absorbed")
            Q = T("concat", [view(qa, (lo, nh, ub), strided=True), qp], (lo + ro, nh, ub), name="Qcur")
            kc = view(kc, (lo, 1, ub)); K = T("concat", [kc, kp], (lo + ro, 1, ub), name="Kcur")
            g.expand(Q); g.expand(kc); g.expand(K)
            g.expand(T("set_rows", [view(K, (lo + ro, ub)), rows[0]["k"], W], (1,), view=W))
            cur = mm(mha(Q, 0, hk=lo + ro, hv=lo, nkv=1, vmla=vh, vview=True), H)
        else:
            q, k, v = qkv(cur)
            if m.get("qkn"): q, k = norm(q), norm(k)
            q, k = rope(q), rope(k)
            if a in ("gemma", "gemma2", "gemma3", "phi3"): q = op("scale", [q])
            cur = attn_kv(q, k, v, w, order="qkv" if swa else "qvk", softcap=a == "gemma2")
            if a == "gpt-oss": cur = op("add", [cur, W])
        if il == L - 1 and early:
            cur = T("get_rows", [cur, out_ids], (H, n_out)); res = T("get_rows", [res, out_ids], (H, n_out))
        if m.get("post"): cur = norm(cur)
        cur = op("add", [cur, res]); ffn_inp = cur
        cur = norm(cur)
        if m.get("E") and il >= m.get("dense", 0):
            cur2 = moe(cur, "softmax_weight" if a == "gpt-oss" else "sigmoid" if a == "glm4moe" else "softmax", a in ("qwen3moe", "llama", "glm4moe") or hybrid,
                       False, bias=a == "gpt-oss", ebias=a == "glm4moe")
            fs = m.get("Fs") or m.get("sh", 0) * m.get("Fe", 0)
            if fs:
                sh = ffn(cur, fs)
                if m.get("Fs"): sh = op("mul", [sh, op("unary", [mm(cur, 1)])])
                cur2 = op("add", [cur2, sh])
            cur = cur2
        elif a == "phi3": cur = mm(T("glu", [mm(cur, 2 * F, "ffn_up")], (F, x_tok(cur))), H)
        else: cur = ffn(cur, F)
        if m.get("post"): cur = norm(cur)
        cur = op("add", [cur, ffn_inp] if a != "phi3" else [ffn_inp, cur])
        x = cur
    cur = x
    if a == "gpt-oss": cur.out = True; cur = norm(T("get_rows", [cur, out_ids], (H, n_out)))
    else:
        cur = norm(cur)
        if not early: cur.out = True; cur = T("get_rows", [cur, out_ids], (H, n_out))
    cur.out = True
    cur = mm(cur, V, "result_output")
    if a == "gemma2": cur = op("scale", [op("unary", [op("scale", [cur])])])
    cur.out = True
    g.expand(cur)
    dev = plan(g)
    p32 = lambda n: -(-n // 32) * 32
    return dev, sum(p32(t.size) for t in host)
