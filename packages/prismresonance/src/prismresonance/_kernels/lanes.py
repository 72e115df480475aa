"""Memory by address, and the sign-code step in vector instructions: what plain loops cannot say.

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
    "HAS_SHUFFLE", "code_step", "code_step_8", "fetch", "float32_at", "float64_at", "int64_at",
    "lowest_bit", "put_uint8", "uint8_at",
]  # fmt: skip

# numba's annotations know neither of its own environment settings nor of its intrinsics' calls.
cgutils, config, intrinsic = (
    cast("Any", x) for x in (_typed_cgutils, _typed_config, _typed_intrinsic)
)

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_LANES = ir.VectorType(_I8, 32)


def _has_shuffle() -> bool:
    """Say whether the code numba makes may use AVX2's byte shuffle.

    A processor chosen by hand (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`) may lack it whatever this
    one has, and LLVM ends the process over an instruction that its target does not know.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("avx2", False))


HAS_SHUFFLE = _has_shuffle()


def _reader(result: Any, element: Any) -> Any:
    def at(typingctx: Any, address: Any, index: Any) -> Any:  # noqa: ARG001  numba's protocol
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            base = builder.inttoptr(arguments[0], element.as_pointer())
            return builder.load(builder.gep(base, [arguments[1]]))

        return result(types.int64, types.int64), generate

    return intrinsic(at)


float32_at = _reader(types.float32, ir.FloatType())
float64_at = _reader(types.float64, ir.DoubleType())
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


def _splat(builder: Any, byte: Any) -> Any:
    one = builder.insert_element(ir.Constant(_LANES, ir.Undefined), byte, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, 32), [0] * 32)
    return builder.shuffle_vector(one, ir.Constant(_LANES, ir.Undefined), zeros)


def _plane(builder: Any, codes: Any, tables: Any, number: Any) -> list[Any]:
    """Look up one byte of each of 64 codes; gives what to add to the two halves' sums."""
    shuffle = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_LANES, [_LANES, _LANES]), "llvm.x86.avx2.pshuf.b"
    )
    half = ir.VectorType(_I8, 16)
    both = ir.Constant(ir.VectorType(_I32, 32), [*range(16), *range(16)])
    nibble, four = (
        ir.Constant(_LANES, [15] * 32),
        ir.Constant(ir.VectorType(ir.IntType(16), 16), [4] * 16),
    )
    low, high = (
        builder.shuffle_vector(table, ir.Constant(half, ir.Undefined), both)
        for table in (
            _loaded(builder, tables, half, builder.mul(number, ir.Constant(_I64, 32))),
            _loaded(
                builder, tables, half,
                builder.add(builder.mul(number, ir.Constant(_I64, 32)), ir.Constant(_I64, 16)),
            ),
        )
    )  # fmt: skip
    sums = []
    for part in (0, 32):
        offset = builder.add(builder.mul(number, ir.Constant(_I64, 64)), ir.Constant(_I64, part))
        byte = _loaded(builder, codes, _LANES, offset)
        wide = builder.bitcast(byte, ir.VectorType(ir.IntType(16), 16))
        upper = builder.and_(builder.bitcast(builder.lshr(wide, four), _LANES), nibble)
        lower = builder.and_(byte, nibble)
        sums.append(
            builder.add(builder.call(shuffle, [low, lower]), builder.call(shuffle, [high, upper]))
        )
    return sums


def _finished(builder: Any, totals: list[Any], bar: Any, sums: Any) -> Any:
    """Store the 64 sums, and give a bit for each that reaches the bar."""
    least = _splat(builder, builder.trunc(bar, _I8))
    mask = None
    for number, total in enumerate(totals):
        address = builder.add(sums, ir.Constant(_I64, 32 * number))
        builder.store(total, builder.inttoptr(address, _LANES.as_pointer()), align=1)
        bits = builder.zext(builder.bitcast(builder.icmp_unsigned(">=", total, least), _I32), _I64)
        shifted = builder.shl(bits, ir.Constant(_I64, 32 * number))
        mask = shifted if mask is None else builder.or_(mask, shifted)
    return mask


_STEP = types.uint64(types.int64, types.int64, types.int64, types.int64, types.int64)


@intrinsic  # type: ignore[untyped-decorator]  # numba
def code_step(typingctx: Any, codes: Any, tables: Any, planes: Any, bar: Any, sums: Any) -> Any:  # noqa: ARG001
    """Add up the table entries of 64 sign codes: see `signs.code_step_plain`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        codes, tables, planes, bar, sums = arguments
        zero = ir.Constant(_LANES, [0] * 32)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]
        for slot in totals:
            builder.store(zero, slot)
        with cgutils.for_range(builder, planes) as loop:
            for slot, more in zip(totals, _plane(builder, codes, tables, loop.index), strict=True):
                builder.store(builder.add(builder.load(slot), more), slot)
        return _finished(builder, [builder.load(slot) for slot in totals], bar, sums)

    return _STEP, generate


@intrinsic  # type: ignore[untyped-decorator]  # numba
def code_step_8(typingctx: Any, codes: Any, tables: Any, planes: Any, bar: Any, sums: Any) -> Any:  # noqa: ARG001
    """As `code_step` for codes of 8 bytes, without a loop."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        codes, tables, _, bar, sums = arguments
        totals: list[Any] = []
        for number in range(8):
            more = _plane(builder, codes, tables, ir.Constant(_I64, number))
            totals = (
                [builder.add(a, b) for a, b in zip(totals, more, strict=True)] if totals else more
            )
        return _finished(builder, totals, bar, sums)

    return _STEP, generate
