"""Operations of PyTorch, one a line: works or FAILS.   usage: operations.py"""
import torch, traceback, gc, sys
M=1<<20
def step(name, f):
    try: r=f(); print('works ', name, '' if r is None else r, flush=True)
    except Exception as e: print('FAILS ', name, type(e).__name__, str(e).splitlines()[0][:200], flush=True)
c=torch.cuda
d='cuda'
def stat(): return f'alloc {c.memory_allocated()/M:.1f} res {c.memory_reserved()/M:.1f} peak {c.max_memory_allocated()/M:.1f}'
step('zeros', lambda: (torch.zeros(1<<20,device=d), stat())[1])
def oom():
    x=[]
    try:
        while True: x.append(torch.empty(1<<30,dtype=torch.uint8,device=d))
    except torch.cuda.OutOfMemoryError as e: return len(x), str(e)[:420]
step('oom', oom)
gc.collect(); c.empty_cache()
bf=torch.bfloat16
def lin():
    l=torch.nn.Linear(4096,4096,device=d,dtype=bf); x=torch.randn(512,4096,device=d,dtype=bf); y=l(x); return tuple(y.shape), stat()
step('linear bias (cublasLt)', lin)
step('matmul', lambda:(torch.randn(512,1024,device=d,dtype=bf)@torch.randn(1024,512,device=d,dtype=bf)).shape)
step('bmm', lambda:torch.bmm(torch.randn(4,512,64,device=d,dtype=bf),torch.randn(4,64,128,device=d,dtype=bf)).shape)
step('f32 mm', lambda:(torch.randn(512,1024,device=d)@torch.randn(1024,512,device=d)).shape)
step('int8 mm', lambda:torch._int_mm(torch.zeros(64,64,device=d,dtype=torch.int8),torch.zeros(64,64,device=d,dtype=torch.int8)).shape)
step('fp8 scaled_mm', lambda:torch._scaled_mm(torch.zeros(64,64,device=d,dtype=torch.float8_e4m3fn),torch.zeros(64,64,device=d,dtype=torch.float8_e4m3fn).t(),torch.ones(1,device=d),torch.ones(1,device=d),out_dtype=bf).shape)
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel, SDPBackend
q=torch.randn(1,40,512,128,device=d,dtype=bf); k=torch.randn(1,40,1024,128,device=d,dtype=bf)
step('sdpa default', lambda:F.scaled_dot_product_attention(q,k,k).shape)
step('sdpa causal', lambda:F.scaled_dot_product_attention(q,q,q,is_causal=True).shape)
step('sdpa gqa', lambda:F.scaled_dot_product_attention(q,k[:,:8],k[:,:8],enable_gqa=True).shape)
m=torch.zeros(1,1,512,1024,device=d,dtype=bf)
step('sdpa mask', lambda:F.scaled_dot_product_attention(q,k,k,attn_mask=m).shape)
for b in (SDPBackend.FLASH_ATTENTION,SDPBackend.EFFICIENT_ATTENTION,SDPBackend.MATH,SDPBackend.CUDNN_ATTENTION):
    def f():
        with sdpa_kernel(b): return F.scaled_dot_product_attention(q,k,k).shape
    step('sdpa '+str(b), f)
step('softmax', lambda:torch.softmax(torch.randn(8,1024,device=d),-1).shape)
step('embedding', lambda:F.embedding(torch.randint(0,1000,(1,512),device=d),torch.randn(1000,128,device=d)).shape)
step('index_select', lambda:torch.randn(100,10,device=d)[torch.arange(5,device=d)].shape)
step('index_put', lambda:torch.randn(100,10,device=d).index_copy_(0,torch.arange(5,device=d),torch.zeros(5,10,device=d)).shape)
step('item', lambda:torch.ones(3,device=d).sum().item())
step('cat', lambda:torch.cat([torch.randn(3,4,device=d),torch.randn(5,4,device=d)]).shape)
step('rms_norm', lambda:F.rms_norm(torch.randn(3,4,device=d),(4,)).shape)
step('layer_norm', lambda:F.layer_norm(torch.randn(3,4,device=d),(4,)).shape)
step('sort/topk', lambda:(torch.randn(1,151936,device=d).sort(descending=True)[0].shape, torch.randn(1,151936,device=d).topk(50)[0].shape))
step('cumsum', lambda:torch.randn(1,1000,device=d).cumsum(-1).shape)
step('multinomial', lambda:torch.multinomial(torch.softmax(torch.randn(1,1000,device=d),-1),1))
step('nonzero', lambda:torch.ones(10,device=d).nonzero().shape)
step('unique', lambda:torch.unique(torch.arange(10,device=d)).shape)
step('to cpu/from cpu', lambda:torch.arange(10).to(d).cpu().tolist())
step('conv2d', lambda:F.conv2d(torch.randn(1,3,64,64,device=d),torch.randn(8,3,3,3,device=d)).shape)
step('conv1d bf16', lambda:F.conv1d(torch.randn(1,8,64,device=d,dtype=bf),torch.randn(8,8,3,device=d,dtype=bf)).shape)
step('fft', lambda:torch.fft.fft(torch.randn(64,device=d)).shape)
step('linalg.solve', lambda:torch.linalg.solve(torch.eye(4,device=d),torch.ones(4,1,device=d)).shape)
step('svd', lambda:[x.shape for x in torch.linalg.svd(torch.randn(8,8,device=d))])
step('backward', lambda:(lambda l:(l(torch.randn(8,64,device=d)).sum().backward(), l.weight.grad.shape)[1])(torch.nn.Linear(64,64,device=d)))
def adam():
    l=torch.nn.Linear(64,64,device=d); o=torch.optim.AdamW(l.parameters()); l(torch.randn(8,64,device=d)).sum().backward(); o.step(); return 'ok'
step('AdamW', adam)
def graph():
    l=torch.nn.Linear(1024,1024,device=d,dtype=bf); x=torch.randn(8,1024,device=d,dtype=bf)
    s=c.Stream(); s.wait_stream(c.current_stream())
    with c.stream(s): l(x)
    c.current_stream().wait_stream(s)
    g=c.CUDAGraph()
    before=c.memory_reserved()
    with torch.no_grad(), c.graph(g): y=F.silu(l(x))@l.weight
    g.replay(); c.synchronize(); return y.shape, (c.memory_reserved()-before)/M
step('cuda graph', graph)
step('events', lambda:(lambda a,b:(a.record(),b.record(),c.synchronize(),a.elapsed_time(b)))(c.Event(True),c.Event(True))[-1])
step('pin', lambda:torch.empty(1<<20).pin_memory().is_pinned())
step('memory_snapshot', lambda:len(c.memory_snapshot()))
step('memory_summary', lambda:len(c.memory_summary()))
step('nvml mem via torch.cuda.utilization', lambda:c.device_memory_used())
print(stat())
