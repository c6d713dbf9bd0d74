"""How fast stored codes become values, against a plain read of bfloat16.

    python -m tests.bench.dequantise [--rows 8192] [--columns 4096] [--rounds 5]

Every scheme is read once in windows as a comparison reads them, from a source that copies and
counts. A round reads bfloat16 and then each scheme, and the ratio is that of their CPU-seconds; the
median over rounds is printed, with the bytes asked over those stored, and the most memory that
Python and NumPy held during a pass, of which the window is a part.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from ftdiff.formats import Checkpoint
from ftdiff.formats.quantised import dequantising
from ftdiff.tensors import ArrayTensor, FileTensor, LazyTensor, numel

#: Entries of a window: those of 16 MiB of bfloat16.
WINDOW = 8 << 20
ASKED = [0]


@dataclass(frozen=True, eq=False)
class Counted:
    """Bytes in memory that are lent as copies, and counted."""

    data: bytes = field(repr=False)
    name: str = "memory"

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data)

    @property
    def identity(self) -> Hashable:
        """The object itself."""
        return id(self.data)

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a copy."""
        ASKED[0] += stop - start
        yield memoryview(bytearray(memoryview(self.data)[start:stop])).toreadonly()


def stored(array: np.ndarray) -> LazyTensor:
    """Return an array as a tensor of a source that copies."""
    return FileTensor(Counted(array.tobytes()), 0, array.shape, ArrayTensor(array).dtype)


def words(*shape: int) -> np.ndarray:
    """Return random bits."""
    return np.random.default_rng(0).integers(-(2**31), 2**31, shape, np.int64).astype(np.int32)


def bytes_(*shape: int) -> np.ndarray:
    """Return random bytes, of which none is a NaN in float 8."""
    return np.random.default_rng(0).integers(0, 127, shape, np.int64).astype(np.uint8)


def floats(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Return scales."""
    return np.random.default_rng(0).uniform(0.01, 0.02, shape).astype(dtype)


def models(
    rows: int, columns: int
) -> Mapping[str, tuple[dict[str, np.ndarray], dict[str, object]]]:
    """Return the tensors and the configuration of a weight in every scheme."""
    import json

    state = {"shape": [rows, columns], "blocksize": 64, "dtype": "bfloat16"}
    described = np.frombuffer(json.dumps(state).encode(), np.uint8)
    bf16 = ml_dtypes.bfloat16
    groups = columns // 128
    f8 = bytes_(rows, columns).view(ml_dtypes.float8_e4m3fn)
    gptq = {
        "m.qweight": words(columns // 8, rows),
        "m.qzeros": words(groups, rows // 8),
        "m.scales": floats(groups, rows, dtype=np.float16),
    }
    index = np.random.default_rng(1).permutation(columns).astype(np.int32) // 128
    told = {"quantization_config": {"bits": 4}, "dtype": "bfloat16"}
    return {
        "nf4": (
            {
                "m.weight": bytes_(rows * columns // 2, 1),
                "m.weight.absmax": floats(rows * columns // 64),
                "m.weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
                "m.weight.quant_state.bitsandbytes__nf4": described,
            },
            {},
        ),
        "bnb int8": (
            {"m.weight": bytes_(rows, columns).view(np.int8), "m.SCB": floats(rows)},
            told,
        ),
        "fp8 blocks": (
            {"m.weight": f8, "m.weight_scale_inv": floats(-(-rows // 128), -(-columns // 128))},
            told,
        ),
        "fp8 rows": ({"m.weight": f8, "m.weight_scale": floats(rows, 1)}, told),
        "gptq": (gptq, told),
        "gptq, act order": (gptq | {"m.g_idx": index}, told),
        "awq": (gptq | {"m.qweight": words(columns, rows // 8)}, told),
        "ct int4": (
            {
                "m.weight_packed": words(rows, columns // 8),
                "m.weight_scale": floats(rows, groups, dtype=bf16),
                "m.weight_shape": np.array([rows, columns]),
            },
            told,
        ),
        "ct int4, zeros": (
            {
                "m.weight_packed": words(rows, columns // 8),
                "m.weight_scale": floats(rows, groups, dtype=bf16),
                "m.weight_zero_point": words(rows // 8, groups),
                "m.weight_shape": np.array([rows, columns]),
            },
            told,
        ),
        "ct int8": (
            {"m.weight": bytes_(rows, columns).view(np.int8), "m.weight_scale": floats(rows, 1)},
            {"quantization_config": {"quant_method": "compressed-tensors"}},
        ),
        "nvfp4": (
            {
                "m.weight": bytes_(rows, columns // 2),
                "m.weight_scale": bytes_(rows, columns // 16).view(ml_dtypes.float8_e4m3fn),
                "m.weight_scale_2": np.float32(0.01).reshape(()),
            },
            told,
        ),
        "mxfp4, turned": (
            {
                "m.experts.down_proj_blocks": bytes_(2, rows // 2, columns // 32, 16),
                "m.experts.down_proj_scales": bytes_(2, rows // 2, columns // 32),
            },
            told,
        ),
        **{
            f"mlx {bits} bits": (
                {
                    "m.weight": words(rows, columns * bits // 32).view(np.uint32),
                    "m.scales": floats(rows, columns // 64, dtype=bf16),
                    "m.biases": floats(rows, columns // 64, dtype=bf16),
                },
                {"quantization": {"group_size": 64, "bits": bits}},
            )
            for bits in (2, 3, 4, 6, 8)
        },
    }


def passed(tensor: LazyTensor) -> float:
    """Read a tensor once, and return the CPU-seconds."""
    start = time.process_time()
    size = numel(tensor.shape)
    for at in range(0, size, WINDOW):
        with tensor.window(at, min(at + WINDOW, size)) as run:
            run[-1]
        del run  # or it is held while the next is made
    return time.process_time() - start


def opened(arrays: Mapping[str, np.ndarray], config: Mapping[str, object]) -> LazyTensor:
    """Return the one weight of a checkpoint."""
    tensors = {name: stored(array) for name, array in arrays.items()}
    found = dequantising(Checkpoint(tensors, "bench", "memory", dict(config))).tensors
    (weight,) = found.values()
    return weight


def main() -> None:
    """Print a line for every scheme."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("--rows", 8192), ("--columns", 4096), ("--rounds", 5)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    size = asked.rows * asked.columns
    plain = stored(floats(asked.rows, asked.columns, dtype=ml_dtypes.bfloat16))
    print(f"{'':20} {'M/CPU-s':>8} {'× bf16':>7} {'asked':>6} {'MB':>5}")
    for name, (arrays, config) in models(asked.rows, asked.columns).items():
        if asked.only not in name:
            continue
        weight = opened(arrays, config)
        ASKED[0] = 0
        tracemalloc.start()
        passed(weight)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        share = ASKED[0] / sum(array.nbytes for array in arrays.values())
        rounds = [(passed(plain), passed(weight)) for _ in range(asked.rounds)]
        own = statistics.median(one for _, one in rounds)
        ratio = statistics.median(one / bare for bare, one in rounds)
        print(f"{name:20} {size / own / 1e6:8.0f} {ratio:7.1f} {share:6.2f} {most / 1e6:5.0f}")


if __name__ == "__main__":
    main()
