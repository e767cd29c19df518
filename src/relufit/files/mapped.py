"""Files that are mapped into memory, and one that is cut, or cannot be read any more, while it is.

The processor finds no page behind such an address, and the system ends the process with SIGBUS, without a word. While
a `Guard` lives, a handler puts zeros in place of the pages of its files instead, as Wayland's servers do for the
memory that they share with their clients, so that the loop ends, and `Guard.check` tells which file it was. Whoever
has a guard calls it before the numbers that it computed go anywhere.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
import threading
import weakref
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir

from relufit.errors import DataError

#: How many maps can be guarded at a time in one process; what goes beyond ends with SIGBUS.
_SLOTS = 4096
#: Of each guarded map the address of its first byte and of the byte after its last, and whether it was replaced.
_TABLE = (ctypes.c_int64 * (3 * _SLOTS))()
#: The last bytes of a map that are compared: of a shard's index, which has a checksum and is not zero.
_LAST = 20
_LOCK = threading.Lock()
_FREE = list(range(_SLOTS))
_SIGBUS, _SIGINFO, _ON_STACK = 7, 4, 0x08000000
_READ_WRITE, _PRIVATE_FIXED_ANONYMOUS = 1 | 2, 0x02 | 0x10 | 0x20
#: Where Linux has the faulting address in what it tells a handler, on 64-bit machines.
_ADDRESS_AT = 16


class _Action(ctypes.Structure):
    """What Linux's C libraries call ``struct sigaction`` on x86-64 and ARM64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint8 * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_BEFORE = _Action()


class Guard:
    """Watches over the files that arrays are mapped from, to their ends.

    A file that is cut has zeros up to the end of its last page, and no page after that. So it has lost nothing while
    no page was replaced, and the last bytes of the map are what they were: no call of the system is needed.

    Parameters
    ----------
    *arrays : numpy.ndarray
        Those that are in memory need no guard, and have none.
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        slots = list[int]()
        weakref.finalize(self, _release, slots)
        self._maps = list[tuple[mmap.mmap, int | None, bytes, str]]()
        for mapped, name in (mapping for array in arrays if (mapping := _map_of(array))):
            slot = _occupy(mapped)
            if slot is not None:
                slots.append(slot)
            self._maps.append((mapped, slot, mapped[-_LAST:], name))

    def check(self) -> None:
        """Do nothing if all numbers that were read so far were in the files.

        Raises
        ------
        DataError
            If a file was cut, or could not be read.
        """
        for mapped, slot, last, name in self._maps:
            if mapped[-_LAST:] != last or (slot is not None and _TABLE[3 * slot + 2]):
                what = f"cut to {mapped.size()} bytes" if mapped.size() < len(mapped) else "changed, or cannot be read,"
                raise DataError(
                    f"the shard was {what} while it was in use",
                    where=name,
                    remedy="find out what changes it, delete the data set and make it again",
                )


def _map_of(array: np.ndarray) -> tuple[mmap.mmap, str] | None:
    """Return the map that an array lies in, and the name of its file."""
    name = ""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, np.memmap):
            name = str(owner.filename)
        if isinstance(owner, mmap.mmap):
            return owner, name
        owner = getattr(owner, "base", None)
    return None


def _address(mapped: mmap.mmap) -> int:
    return int(np.frombuffer(mapped, np.uint8, 1).ctypes.data)


def _occupy(mapped: mmap.mmap) -> int | None:
    with _LOCK:
        if not _install() or not _FREE:
            return None
        slot, start = _FREE.pop(), _address(mapped)
        # The handler may run at any moment: a map is there once its end is.
        _TABLE[3 * slot], _TABLE[3 * slot + 2], _TABLE[3 * slot + 1] = start, 0, start + len(mapped)
        return slot


def _release(slots: list[int]) -> None:
    # Without the lock: the garbage collector may call this in a thread that has it.
    for slot in slots:
        _TABLE[3 * slot + 1] = 0
        _FREE.append(slot)


def _install() -> bool:
    """Have the handler called, whatever was called before and since; tell whether this system is known well enough."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64") or sys.maxsize < 2**32:
        return False
    library, handler, present = ctypes.CDLL(None), _handler()[0], _Action()
    if library.sigaction(_SIGBUS, None, ctypes.byref(present)):
        return False
    if present.handler == handler:
        return True
    ctypes.memmove(ctypes.byref(_BEFORE), ctypes.byref(present), ctypes.sizeof(_Action))
    wanted = _Action(handler=handler, flags=_SIGINFO | _ON_STACK)
    return not library.sigaction(_SIGBUS, ctypes.byref(wanted), None)


@cache
def _handler() -> tuple[int, Any]:
    """Return the address of the compiled handler, and what owns its code.

    It calls nothing but the system, and looks at nothing but the table: that is all a handler may do.
    """
    library, module = ctypes.CDLL(None), ir.Module("relufit_mapped")
    whole, word, pointer = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [whole, pointer, pointer]), "handler")
    entry, loop, inside, replaced, following, done, others, end = (
        function.append_basic_block(name)
        for name in ("entry", "loop", "inside", "replaced", "following", "done", "others", "end")
    )

    def address_of(name: str, kind: ir.FunctionType) -> Any:  # noqa: ANN401 - llvmlite is untyped
        where = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        return builder.inttoptr(word(where), kind.as_pointer())

    builder = ir.IRBuilder(entry)
    field = builder.gep(function.args[1], [word(_ADDRESS_AT)])
    fault = builder.load(builder.bitcast(field, word.as_pointer()))
    table = builder.inttoptr(word(ctypes.addressof(_TABLE)), word.as_pointer())
    builder.branch(loop)

    builder.position_at_end(loop)
    slot, found_before = builder.phi(word), builder.phi(ir.IntType(1))
    offset = builder.mul(slot, word(3))
    start, stop = (builder.load(builder.gep(table, [builder.add(offset, word(k))])) for k in (0, 1))
    within = builder.and_(builder.icmp_unsigned("<=", start, fault), builder.icmp_unsigned("<", fault, stop))
    builder.cbranch(within, inside, following)

    builder.position_at_end(inside)
    kind = ir.FunctionType(word, [word, word, whole, whole, whole, word])
    values = (start, builder.sub(stop, start), whole(_READ_WRITE), whole(_PRIVATE_FIXED_ANONYMOUS), whole(-1), word(0))
    result = builder.call(address_of("mmap", kind), values)
    builder.cbranch(builder.icmp_signed("==", result, word(-1)), following, replaced)

    builder.position_at_end(replaced)
    builder.store(word(1), builder.gep(table, [builder.add(offset, word(2))]))
    builder.branch(following)

    builder.position_at_end(following)
    any_found = builder.phi(ir.IntType(1))
    for source, value in ((loop, found_before), (inside, found_before), (replaced, ir.IntType(1)(1))):
        any_found.add_incoming(value, source)
    after = builder.add(slot, word(1))
    builder.cbranch(builder.icmp_unsigned("<", after, word(_SLOTS)), loop, done)
    for source, number, value in ((entry, word(0), ir.IntType(1)(0)), (following, after, any_found)):
        slot.add_incoming(number, source)
        found_before.add_incoming(value, source)

    builder.position_at_end(done)
    builder.cbranch(any_found, end, others)

    builder.position_at_end(others)  # what was called before is called when the instruction fails again
    kind = ir.FunctionType(whole, [whole, word, word])
    builder.call(address_of("sigaction", kind), (whole(_SIGBUS), word(ctypes.addressof(_BEFORE)), word(0)))
    builder.branch(end)

    builder.position_at_end(end)
    builder.ret_void()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    compiled = binding.parse_assembly(str(module))
    compiled.verify()
    engine = binding.create_mcjit_compiler(compiled, binding.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    return engine.get_function_address("handler"), engine
