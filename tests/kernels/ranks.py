"""What each of several processes does; run by test_ulysses.py and test_fsdp.py.

Arguments: name of the task, rank, number of processes, file where they meet, file of results,
device. Every process draws the same inputs from the seed in the environment and keeps its part.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch.autograd import forward_ad

from rcm_kernels import attention
from rcm_kernels.fsdp import carry_tangents
from rcm_kernels.ulysses import ulysses_attention


def draw(shapes, dtype=torch.float64):
    rng = torch.Generator().manual_seed(int(os.environ["SEED"]))
    return [torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes]


def part(x, rank, num):
    """This process's positions."""
    return x.chunk(num, dim=2)[rank].clone()


def ulysses(rank, num, device):
    """Output, tangent and gradients of this process's part, by each way; and the collectives."""
    B, H, S, D = 2, 2 * num, 4 * num, 16
    groups = (B, num, S, D)
    shapes = [(B, H, S, D), groups, groups, (B, H, S, D), groups, groups, (B, H, S, D)]
    *whole, weight = (part(x, rank, num).to(device) for x in draw(shapes))
    results = {}
    real, sent = dist.all_to_all_single, []

    def counting(received, given, **options):
        sent.append(given.numel())
        return real(received, given, **options)

    dist.all_to_all_single = counting
    for name, ask in (("dual_level", by_level), ("func.jvp", torch.func.jvp), ("plain", plainly)):
        for causal in (False, True):
            leaves = [x.clone().requires_grad_() for x in whole]
            sent.clear()

            def attend(*primals, causal=causal):
                return ulysses_attention(*primals, is_causal=causal, scale=0.3)

            out = ask(attend, tuple(leaves[:3]), tuple(leaves[3:]))
            forward = list(sent)
            loss = sum((x * weight).sum() for x in out)
            used = leaves if len(out) == 2 else leaves[:3]
            grads = torch.autograd.grad(loss, used)
            results[name, causal] = [x.detach().cpu() for x in (*out, *grads)]
            results[name, causal, "sent"] = forward
            results[name, causal, "sent in all"] = len(sent)
    try:
        ulysses_attention(*(x[:, :1] for x in whole[:3]))
    except ValueError as fault:
        results["message"] = str(fault)
    return results


def by_level(function, primals, tangents):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(primals, tangents, strict=True)]
        return tuple(forward_ad.unpack_dual(function(*duals)))


def plainly(function, primals, tangents):
    return (function(*primals),)


class Net(torch.nn.Module):
    """Two attention layers, for sharding."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(32, 96) for _ in range(2)])
        self.out = torch.nn.Linear(32, 32)

    def forward(self, x):
        for layer in self.layers:
            q, k, v = layer(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            x = x + attention(q, k, v, impl="reference").transpose(1, 2).flatten(2)
        return self.out(x)


def fsdp(rank, num, device):
    """Tangent and the sharded gradients, made whole, for losses with and without the tangent."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(int(os.environ["SEED"]))
    net = Net().double().to(device)
    x, dx, weight = (x.to(device) for x in draw([(2, 5, 32)] * 3))
    results = {"alone": tangents_and_gradients(net, x, dx, weight)}
    mesh = dist.device_mesh.init_device_mesh(device, (num,))
    for layer in (*net.layers, net):
        fully_shard(layer, mesh=mesh)
    with torch.no_grad():
        results["no gradients"] = [y.detach().cpu() for y in by_level(net, (x,), (dx,))]
    if os.environ.get("UNPATCHED"):
        try:
            tangents_and_gradients(net, x, dx, weight)
            results["unpatched"] = "works"
        except Exception as fault:
            results["unpatched"] = f"{type(fault).__name__}: {fault}"
        return results
    carry_tangents()
    carry_tangents()
    results["sharded"] = tangents_and_gradients(net, x, dx, weight)
    return results


def tangents_and_gradients(net, x, dx, weight):
    net.zero_grad()
    out, tangent = by_level(net, (x,), (dx,))
    ((out + tangent) * weight).sum().backward()
    grads = [p.grad for p in net.parameters()]
    grads = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in grads]
    return [y.detach().cpu().clone() for y in (out, tangent, *grads)]


if __name__ == "__main__":
    task, rank, num, meeting, results, device = sys.argv[1:]
    rank, num = int(rank), int(num)
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=num)
    found = {"ulysses": ulysses, "fsdp": fsdp}[task](rank, num, device)
    torch.save(found, results)
    dist.barrier()
    dist.destroy_process_group()
