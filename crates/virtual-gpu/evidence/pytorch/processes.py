#!/usr/bin/env python3
"""Two cards, three spawned processes, a fork: free memory is one for all.   usage: processes.py"""
import os, time
import torch, torch.multiprocessing as mp

def child(rank, queue):
    held = torch.zeros(1 << 30, dtype=torch.uint8, device=f"cuda:{rank}")
    queue.put((rank, torch.cuda.mem_get_info(rank)[0] >> 20))
    time.sleep(1.5)

def main():
    torch.zeros(1, device="cuda:0"), torch.zeros(1, device="cuda:1")
    mp.set_start_method("spawn")
    queue = mp.Queue()
    children = [mp.Process(target=child, args=(rank, queue)) for rank in (0, 1, 1)]
    before = torch.cuda.mem_get_info(1)[0] >> 20
    for one in children: one.start()
    print("children see free MiB", sorted(queue.get() for _ in children))
    print("parent saw", before, "sees", torch.cuda.mem_get_info(1)[0] >> 20)
    for one in children: one.join()
    print("after", torch.cuda.mem_get_info(1)[0] >> 20)
    pid = os.fork()
    if pid == 0:
        try: torch.zeros(1, device="cuda")
        except RuntimeError as error: print("a fork:", str(error).split(".")[0])
        os._exit(0)
    os.waitpid(pid, 0)

if __name__ == "__main__": main()
