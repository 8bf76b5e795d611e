"""Values that steer a program: what PyTorch reads back from the card must be what the CPU would compute."""
import threading, torch
import torch.nn.functional as F
ok=bad=0
def check(name, got, want):
    global ok,bad
    if got==want: ok+=1
    else: bad+=1; print('WRONG', name, 'got', got, 'want', want)
d='cuda'
x=torch.tensor([3,0,2,0,5],device=d)
check('nonzero', x.nonzero().squeeze(1).tolist(), [0,2,4])
check('mask', x[x>1].tolist(), [3,2,5])
check('full', torch.full((3,),7,device=d).tolist(), [7,7,7])
check('sum', x.sum().item(), 10)
check('any', bool((x>4).any()), True)
check('one_hot', F.one_hot(torch.tensor([0,2],device=d)).shape, torch.Size([2,3]))
check('repeat_interleave', torch.repeat_interleave(torch.arange(3,device=d), torch.tensor([1,0,2],device=d)).tolist(), [0,2,2])
check('bincount', torch.bincount(x).tolist(), [2,0,1,1,0,1])
check('unique', torch.unique(x).tolist(), [0,2,3,5])
check('sort', x.sort().values.tolist(), [0,0,2,3,5])
check('cumsum', x.cumsum(0).tolist(), [3,3,5,5,10])
check('to', x.to(torch.float32).mul(0.5).cpu().tolist(), [1.5,0,1,0,2.5])
check('to cpu with type', x.to('cpu',torch.float64).tolist(), [3.,0.,2.,0.,5.])
check('arange', torch.arange(4,device=d).tolist(), [0,1,2,3])
check('equal', torch.equal(x, x.clone()), True)
check('where', torch.where(x>1,x,-x).tolist(), [3,0,2,0,5])
check('masked_fill', x.masked_fill(x==0,-1).tolist(), [3,-1,2,-1,5])
check('inplace', x.clone().add_(1).tolist(), [4,1,3,1,6])
check('argmax', x.argmax().item(), 4)
check('topk', x.topk(2).indices.tolist(), [4,0])
check('matmul', (torch.eye(3,device=d)@torch.arange(9.,device=d).view(3,3)).tolist(), [[0,1,2],[3,4,5],[6,7,8]])
check('scatter', torch.zeros(4,dtype=torch.long,device=d).scatter_(0,torch.tensor([1,3],device=d),9).tolist(), [0,9,0,9])
check('index_put', (lambda t: (t.__setitem__(torch.tensor([True,False,True],device=d), 4), t.tolist())[1])(torch.zeros(3,dtype=torch.long,device=d)), [4,0,4])
check('non-contiguous copy', torch.arange(6,device=d).view(2,3).t().contiguous().tolist(), [[0,3],[1,4],[2,5]])
big=torch.empty(1<<16,512,device=d,dtype=torch.bfloat16)
m=torch.zeros(1<<16,dtype=torch.bool,device=d); m[:100]=True
check('mask of a large tensor', big[m].shape, torch.Size([100,512]))
r=torch.empty(64,1<<15,device=d,dtype=torch.bfloat16)@torch.empty(1<<15,128,device=d,dtype=torch.bfloat16)
ids=r.topk(8).indices; c=torch.bincount(ids.flatten(),minlength=128)
check('routes', (int(c.sum()), int(c.max())<20, len(set(ids[0].tolist()))), (512,True,8))
check('large argmax in range', int(torch.empty(64,152064,device=d).argmax(-1).max())<152064, True)
seen=[]
t=threading.Thread(target=lambda: seen.append(torch.full((2,),3,device=d).tolist())); t.start(); t.join()
check('thread', seen, [[3,3]])
a=torch.get_rng_state(); torch.rand(5,device=d); torch.randperm(5,device=d); F.dropout(torch.ones(4,device=d)); check('own random numbers', torch.equal(a,torch.get_rng_state()), True)
check('rand', 0<torch.rand(1000,device=d).mean().item()<1, True)
n=torch.nn.Linear(8,4).to(d); y=n(torch.ones(2,8,device=d)).sum(); y.backward()
check('backward', n.bias.grad.tolist(), [2.]*4)
with torch.device(d): check('default device', torch.ones(3).sum().item(), 3)
g=torch.cuda.CUDAGraph()
with torch.cuda.graph(g): z=x*2
g.replay(); check('captured', z.tolist(), [6,0,4,0,10])
check('bool index 2d', x.view(1,5)[x.view(1,5)>2].tolist(), [3,5])
check('multinomial', torch.multinomial(torch.tensor([0.,1.],device=d),1).item(), 1)
check('isfinite', bool(torch.isfinite(torch.tensor([1.,2.],device=d)).all()), True)
print(ok,'right',bad,'wrong')
