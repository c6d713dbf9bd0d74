"""The guard of memory maps: a handler of SIGBUS, compiled, since nothing else may run there.

Linux on x86-64. A page that cannot be had is replaced by zeros up to the next 2 MiB, after its
place was noted; the instruction is then run again. A fault elsewhere, and a signal that was sent,
goes to whoever handled it before, `faulthandler` for one, or else ends the process as ever.
"""

from __future__ import annotations

import ctypes
import mmap
from threading import RLock

from ftdiff.kernels.jit import program

#: Maps that are guarded at a time.
MAPS = 1024
#: Bytes, at most, that a fault replaces: aligned to as many.
_BLOCK = 2 << 20
_NOWHERE = (1 << 63) - 1
#: SIGBUS; SA_SIGINFO, SA_ONSTACK and SA_RESTART; SA_SIGINFO alone; PROT_READ; MAP_PRIVATE,
#: MAP_FIXED and MAP_ANONYMOUS.
_NUMBERS = {"signal": 7, "flags": 0x18000004, "tells": 4, "readable": 1, "anonymous": 0x32}

# A struct sigaction is a handler, 128 bytes of mask, flags and a restorer; of siginfo the code is
# at byte 8, and the address at 16. A slot is where a map begins and ends, and where holes do.
_ASSEMBLY = """
@table = global [{maps} x [4 x i64]] zeroinitializer, align 64
@ours = internal global [152 x i8] zeroinitializer, align 8
@theirs = internal global [152 x i8] zeroinitializer, align 8
@default = internal global [152 x i8] zeroinitializer, align 8
@passed = internal global i32 0

declare i32 @sigaction(i32, ptr, ptr)
declare i32 @raise(i32)
declare ptr @mmap(ptr, i64, i32, i32, i32, i64)
declare ptr @__errno_location()
declare i64 @llvm.umin.i64(i64, i64)

define internal void @handle(i32 %signal, ptr %info, ptr %context) {{
entry:
  %errno = call ptr @__errno_location()
  %kept = load i32, ptr %errno
  %code.at = getelementptr i8, ptr %info, i64 8
  %code = load i32, ptr %code.at
  %address.at = getelementptr i8, ptr %info, i64 16
  %address = load i64, ptr %address.at
  %fault = icmp sgt i32 %code, 0
  br i1 %fault, label %look, label %other
look:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %slot = getelementptr [4 x i64], ptr @table, i64 %i
  %start = load atomic i64, ptr %slot acquire, align 8
  %stop.at = getelementptr i64, ptr %slot, i64 1
  %stop = load atomic i64, ptr %stop.at acquire, align 8
  %after = icmp uge i64 %address, %start
  %before = icmp ult i64 %address, %stop
  %inside = and i1 %after, %before
  br i1 %inside, label %mine, label %next
next:
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, {maps}
  br i1 %more, label %look, label %other
mine:
  %page = and i64 %address, -{page}
  %block = or i64 %address, {last}
  %block.end = add i64 %block, 1
  %end = call i64 @llvm.umin.i64(i64 %block.end, i64 %stop)
  %size = sub i64 %end, %page
  %low = getelementptr i64, ptr %slot, i64 2
  %high = getelementptr i64, ptr %slot, i64 3
  %low.was = atomicrmw umin ptr %low, i64 %page seq_cst
  %high.was = atomicrmw umax ptr %high, i64 %end seq_cst
  %at = inttoptr i64 %page to ptr
  %got = call ptr @mmap(ptr %at, i64 %size, i32 {readable}, i32 {anonymous}, i32 -1, i64 0)
  %done = icmp eq ptr %got, %at
  store i32 %kept, ptr %errno
  br i1 %done, label %end.here, label %other
other:
  %was = load i64, ptr @theirs
  %flags.at = getelementptr i8, ptr @theirs, i64 136
  %flags = load i32, ptr %flags.at
  %before.this = load i32, ptr @passed
  %once = icmp ne i32 %before.this, 0
  %sent = xor i1 %fault, true
  %again = and i1 %once, %sent
  %none = icmp ule i64 %was, 1
  %ignored = icmp eq i64 %was, 1
  %leave = and i1 %ignored, %sent
  br i1 %leave, label %end.here, label %decide
decide:
  %give.up = or i1 %again, %none
  br i1 %give.up, label %die, label %pass
pass:
  store i32 1, ptr @passed
  %handler = inttoptr i64 %was to ptr
  %asks = and i32 %flags, {tells}
  %full = icmp ne i32 %asks, 0
  br i1 %full, label %tell, label %call
tell:
  call void %handler(i32 %signal, ptr %info, ptr %context)
  br label %end.here
call:
  call void %handler(i32 %signal)
  br label %end.here
die:
  %default.set = call i32 @sigaction(i32 {signal}, ptr @default, ptr null)
  %raised = call i32 @raise(i32 {signal})
  br label %end.here
end.here:
  ret void
}}

define void @stand() {{
entry:
  %standing = alloca [152 x i8], align 8
  %asked = call i32 @sigaction(i32 {signal}, ptr null, ptr %standing)
  %now = load ptr, ptr %standing
  %first = icmp eq ptr %now, @handle
  br i1 %first, label %end.here, label %put
put:
  %held = load [152 x i8], ptr %standing
  store [152 x i8] %held, ptr @theirs
  store i32 0, ptr @passed
  store ptr @handle, ptr @ours
  %flags.at = getelementptr i8, ptr @ours, i64 136
  store i32 {flags}, ptr %flags.at
  %set = call i32 @sigaction(i32 {signal}, ptr @ours, ptr null)
  br label %end.here
end.here:
  ret void
}}
"""


class Faults:
    """The guard of this process's maps; see `ftdiff.tensors.guard`."""

    def __init__(self) -> None:
        assembly = _ASSEMBLY.format(maps=MAPS, page=mmap.PAGESIZE, last=_BLOCK - 1, **_NUMBERS)
        self._program = program(assembly)
        self._stand = ctypes.CFUNCTYPE(None)(self._program.get_function_address("stand"))
        table = ctypes.c_int64 * 4 * MAPS
        self._slots = table.from_address(self._program.get_global_value_address("table"))
        self._free = [*reversed(range(MAPS))]
        self._lock = RLock()  # a map that is collected meanwhile is released in this thread

    def watch(self, address: int, size: int) -> int | None:
        """Guard a map from now on."""
        with self._lock:
            if not self._free:
                return None
            number = self._free.pop()
        slot = self._slots[number]
        slot[2], slot[3] = _NOWHERE, 0
        slot[0] = address
        slot[1] = address + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return number

    def release(self, number: int) -> None:
        """Guard a map no more."""
        self._slots[number][1] = 0
        with self._lock:
            self._free.append(number)

    def stand(self) -> None:
        """Stand first."""
        self._stand()

    def holes(self, number: int) -> tuple[int, int] | None:
        """Return from where to where zeros may stand."""
        _, _, low, high = self._slots[number]
        return (low, high) if low < high else None
