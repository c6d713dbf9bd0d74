"""What each of two processes does to save its part of a checkpoint."""

from __future__ import annotations

import os

import torch


def whole() -> dict[str, torch.Tensor]:
    """Return tensors that are saved in rows, in columns, and by one process alone."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"rows": (7, 6), "columns": (4, 10), "vector": (9,), "cube": (5, 2, 3), "one": (3, 3)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def save(rank: int, port: int, folder: str) -> None:
    """Save a process's part."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    how = {"columns": Shard(1), "one": Replicate()}
    state = {
        name: distribute_tensor(W, mesh, [how.get(name, Shard(0))]) for name, W in whole().items()
    }
    dcp.save({"model": state, "optim": {"step": torch.tensor(3.0)}}, checkpoint_id=folder)
    torch.distributed.destroy_process_group()
