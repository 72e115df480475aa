"""Memory by address, and the scan of sign codes in vector instructions: beyond plain loops.

Importing this module imports numba; only `compiled` and the kernels it compiles do.
"""

from __future__ import annotations

from typing import Any, cast

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils as _typed_cgutils
from numba.core import config as _typed_config
from numba.extending import intrinsic as _typed_intrinsic

__all__ = [
    "HAS_SHUFFLE", "fetch", "float32_at", "int8_at", "int16_at", "int32_at", "int64_at",
    "lowest_bit", "next_block_8", "next_block_any", "put_int64", "put_uint8", "uint8_at",
]  # fmt: skip

# numba's annotations know neither of its own environment settings nor of its intrinsics' calls.
cgutils, config, intrinsic = (
    cast("Any", x) for x in (_typed_cgutils, _typed_config, _typed_intrinsic)
)

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _has_shuffle() -> bool:
    """Say whether the code numba makes may use AVX2's byte shuffle.

    A processor chosen by hand (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`) may lack it whatever this
    one has, and LLVM ends the process over an instruction that its target does not know.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("avx2", False))


HAS_SHUFFLE = _has_shuffle()

# 64 bytes at once from the first processors on that do not slow down for it.
_WIDE = HAS_SHUFFLE and bool(binding.get_host_cpu_features().get("avx512vbmi", False))
_WIDTH = 64 if _WIDE else 32
_SHUFFLE = "llvm.x86.avx512.pshuf.b.512" if _WIDE else "llvm.x86.avx2.pshuf.b"
_LANES = ir.VectorType(_I8, _WIDTH)
_STARTS = range(0, 64, _WIDTH)


def _reader(result: Any, element: Any) -> Any:
    """Make a function that loads an element by address and index; integers are widened."""

    def at(typingctx: Any, address: Any, index: Any) -> Any:  # noqa: ARG001  numba's protocol
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            base = builder.inttoptr(arguments[0], element.as_pointer())
            loaded = builder.load(builder.gep(base, [arguments[1]]))
            wide = context.get_value_type(result)
            return loaded if wide == element else builder.sext(loaded, wide)

        return result(types.int64, types.int64), generate

    return intrinsic(at)


float32_at = _reader(types.float32, ir.FloatType())
int8_at = _reader(types.int32, _I8)
int16_at = _reader(types.int32, ir.IntType(16))
int32_at = _reader(types.int32, _I32)
int64_at = _reader(types.int64, _I64)
uint8_at = _reader(types.uint8, _I8)


@intrinsic  # type: ignore[untyped-decorator]  # numba
def put_uint8(typingctx: Any, address: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Store the lowest byte of a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        base = builder.inttoptr(arguments[0], _I8.as_pointer())
        builder.store(builder.trunc(arguments[2], _I8), builder.gep(base, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba
def put_int64(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Store eight bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        builder.store(arguments[1], builder.inttoptr(arguments[0], _I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba
def lowest_bit(typingctx: Any, mask: Any) -> Any:  # noqa: ARG001  numba's protocol
    """Give the number of the lowest set bit of a mask that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        kind = ir.FunctionType(_I64, [_I64, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64")
        return builder.call(count, [arguments[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba
def fetch(typingctx: Any, address: Any) -> Any:  # noqa: ARG001  numba's protocol
    """Ask for the cache line of an address ahead of its use."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        pointer = _I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        hints = [ir.Constant(_I32, hint) for hint in (0, 3, 1)]  # to read, often, as data
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), *hints])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _loaded(builder: Any, address: Any, kind: Any, offset: Any) -> Any:
    pointer = builder.inttoptr(builder.add(address, offset), kind.as_pointer())
    return builder.load(pointer, align=1)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: Any, byte: Any) -> Any:
    one = builder.insert_element(ir.Constant(_LANES, ir.Undefined), byte, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, _WIDTH), [0] * _WIDTH)
    return builder.shuffle_vector(one, ir.Constant(_LANES, ir.Undefined), zeros)


def _table(builder: Any, tables: Any, offset: Any) -> Any:
    """Load 16 bytes into each 16 of a register, since the shuffle works on those by themselves."""
    half = ir.VectorType(_I8, 16)
    each = ir.Constant(ir.VectorType(_I32, _WIDTH), [*range(16)] * (_WIDTH // 16))
    table = _loaded(builder, tables, half, offset)
    return builder.shuffle_vector(table, ir.Constant(half, ir.Undefined), each)


def _block_sums(builder: Any, codes: Any, tables: Any, plane: Any) -> list[Any]:
    """Look up one byte of each of 64 codes; gives what to add to their sums."""
    shuffle = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_LANES, [_LANES, _LANES]), _SHUFFLE
    )
    at = builder.mul(plane, ir.Constant(_I64, 32))
    low = _table(builder, tables, at)
    high = _table(builder, tables, builder.add(at, ir.Constant(_I64, 16)))
    sums = []
    for start in _STARTS:
        offset = builder.add(builder.mul(plane, ir.Constant(_I64, 64)), ir.Constant(_I64, start))
        byte = _loaded(builder, codes, _LANES, offset)
        lower = builder.call(shuffle, [low, builder.and_(byte, _constant(_LANES, 15))])
        upper = builder.call(shuffle, [high, builder.lshr(byte, _constant(_LANES, 4))])
        sums.append(builder.add(lower, upper))
    return sums


def _summed(builder: Any, codes: Any, tables: Any, planes: Any) -> list[Any]:
    """Give the sums of a block in registers; `planes` is a number, or a value in the code."""
    if isinstance(planes, int):
        totals = _block_sums(builder, codes, tables, ir.Constant(_I64, 0))
        for plane in range(1, planes):
            more = _block_sums(builder, codes, tables, ir.Constant(_I64, plane))
            totals = [builder.add(a, b) for a, b in zip(totals, more, strict=True)]
        return totals
    slots = [cgutils.alloca_once_value(builder, _constant(_LANES, 0)) for _ in _STARTS]
    for slot in slots:
        builder.store(_constant(_LANES, 0), slot)
    with cgutils.for_range(builder, planes) as loop:
        for slot, more in zip(slots, _block_sums(builder, codes, tables, loop.index), strict=True):
            builder.store(builder.add(builder.load(slot), more), slot)
    return [builder.load(slot) for slot in slots]


def _mask(builder: Any, totals: list[Any], least: Any) -> Any:
    """Give a bit for each sum that reaches the bar."""
    mask = ir.Constant(_I64, 0)
    for start, total in zip(_STARTS, totals, strict=True):
        bits = builder.bitcast(builder.icmp_unsigned(">=", total, least), ir.IntType(_WIDTH))
        if _WIDTH < 64:
            bits = builder.zext(bits, _I64)
        mask = builder.or_(mask, builder.shl(bits, ir.Constant(_I64, start)))
    return mask


def _next_block(planes: int | None) -> Any:
    """Make the search for the next block that has a row at the bar: a loop in registers."""

    def search(
        typingctx: Any,  # noqa: ARG001  numba's protocol
        codes: Any,  # noqa: ARG001
        tables: Any,  # noqa: ARG001
        plane_count: Any,  # noqa: ARG001
        bar: Any,  # noqa: ARG001
        first: Any,  # noqa: ARG001
        blocks: Any,  # noqa: ARG001
        sums: Any,  # noqa: ARG001
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            codes, tables, plane_count, bar, first, blocks, sums = arguments
            step = ir.Constant(_I64, 64 * planes) if planes else builder.mul(
                plane_count, ir.Constant(_I64, 64)
            )  # fmt: skip
            least = _splat(builder, builder.trunc(bar, _I8))
            before = builder.block
            loop, on, hit, done = (
                builder.append_basic_block(name) for name in ("loop", "on", "hit", "done")
            )
            builder.cbranch(builder.icmp_signed("<", first, blocks), loop, done)

            builder.position_at_end(loop)
            block = builder.phi(_I64)
            block.add_incoming(first, before)
            at = builder.add(codes, builder.mul(block, step))
            totals = _summed(builder, at, tables, planes or plane_count)
            mask = _mask(builder, totals, least)
            builder.cbranch(builder.icmp_unsigned("==", mask, ir.Constant(_I64, 0)), on, hit)

            builder.position_at_end(on)
            following = builder.add(block, ir.Constant(_I64, 1))
            block.add_incoming(following, on)
            builder.cbranch(builder.icmp_signed("<", following, blocks), loop, done)

            builder.position_at_end(hit)
            for start, total in zip(_STARTS, totals, strict=True):
                address = builder.add(sums, ir.Constant(_I64, start))
                builder.store(total, builder.inttoptr(address, _LANES.as_pointer()), align=1)
            address = builder.add(sums, ir.Constant(_I64, 64))
            builder.store(mask, builder.inttoptr(address, _I64.as_pointer()))
            builder.branch(done)

            builder.position_at_end(done)
            found = builder.phi(_I64)
            for value, source in ((blocks, before), (blocks, on), (block, hit)):
                found.add_incoming(value, source)
            return found

        return types.int64(*[types.int64] * 7), generate

    return intrinsic(search)


next_block_8 = _next_block(8)
next_block_any = _next_block(None)
