"""Compile LLVM's assembly for this machine, once a process; calls release the interpreter."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Target:
    """A processor to compile for: this one, or an older one that it can stand in for.

    Attributes
    ----------
    cpu
        LLVM's name of it; empty for the processor that runs.
    half
        It widens float16 by itself; asked to where it cannot, LLVM would end the process.
    fused
        It multiplies and adds with one rounding.
    registers, lanes
        Its vector registers, and how many float32 each of them holds.
    """

    cpu: str
    half: bool
    fused: bool
    registers: int = 16
    lanes: int = 8


@lru_cache(maxsize=1)
def host() -> Target:
    """Return the processor that runs."""
    import llvmlite.binding as llvm

    arm = llvm.get_default_triple().startswith(("aarch64", "arm64"))
    features = llvm.get_host_cpu_features()
    half, fused = (arm or bool(features.get(name)) for name in ("f16c", "fma"))
    if arm:
        return Target("", half, fused, registers=32, lanes=4)
    wide = bool(features.get("avx512f"))
    return Target("", half, fused, *((32, 16) if wide else (16, 8)))


_lock = threading.Lock()
_functions: dict[tuple[Hashable, Target], Callable[..., None]] = {}
_addresses: dict[tuple[Hashable, Target], int] = {}
_engines: list[Any] = []  # compiled code lives as long as the process


def function(
    key: Hashable,
    target: Target,
    name: str,
    arguments: Sequence[Any],
    assembly: Callable[[], str],
) -> Callable[..., None]:
    """Return a compiled function, compiled at the first call with this key.

    Parameters
    ----------
    key
        What the assembly depends on.
    target
        The processor to compile for.
    name, arguments
        The function in the assembly, and the ctypes of its arguments.
    assembly
        Writes the module.
    """
    at = address(key, target, name, assembly)
    with _lock:
        if (key, target) not in _functions:
            _functions[key, target] = ctypes.CFUNCTYPE(None, *arguments)(at)
        return _functions[key, target]


def address(key: Hashable, target: Target, name: str, assembly: Callable[[], str]) -> int:
    """Return where a compiled function is, for other compiled code to call; as `function`."""
    with _lock:
        if (key, target) not in _addresses:
            _addresses[key, target] = program(assembly(), target).get_function_address(name)
        return _addresses[key, target]


def program(assembly: str, target: Target | None = None) -> Any:
    """Return a compiled module, of which the addresses of its functions can be asked."""
    engine = _compiled(assembly, target or host())
    _engines.append(engine)
    return engine


def _compiled(assembly: str, target: Target) -> Any:
    import llvmlite.binding as llvm

    _start()
    module = llvm.parse_assembly(assembly)
    module.verify()
    if target.cpu:
        cpu, features = target.cpu, ""
    else:
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, jit=True
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


@lru_cache(maxsize=1)
def _start() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
