"""Manifest and segments: what is written is read back, and nothing else is taken for it."""

from __future__ import annotations

import string
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance._files.manifest import (
    FileEntry,
    ForeignError,
    Manifest,
    SegmentEntry,
    TornError,
    decode,
    encode,
)
from prismresonance._files.segment import Layout, MalformedError, read_index, read_section

counts = st.integers(0, 2**50)
names = st.text(string.ascii_lowercase + string.digits + "-.", min_size=1)
files = st.builds(FileEntry, names, counts, st.integers(0, 2**32 - 1))
texts = st.text(st.characters(exclude_categories=["Cs"]))
manifests = st.builds(
    Manifest,
    generation=counts,
    token=names,
    byteorder=st.sampled_from(["little", "big"]),
    tenant_id=texts,
    dim=counts,
    width=st.none() | counts,
    precision=texts,
    indexed_fields=st.lists(st.text()).map(tuple),
    next_id=st.integers(0) | st.just(10**5000),
    projected=st.booleans(),
    segments=st.lists(st.builds(SegmentEntry, files, counts, counts), max_size=5).map(tuple),
    deaths=st.none() | files,
)


@given(manifests)
def test_a_manifest_is_read_back(manifest):
    assert decode(encode(manifest)) == manifest
    assert manifest.files == {
        file.name for file in (*(s.file for s in manifest.segments), manifest.deaths) if file
    }


@given(manifests, st.data())
def test_a_manifest_that_is_cut_off_or_changed_is_refused(manifest, data):
    content = encode(manifest)
    place = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises((TornError, ForeignError)):
        decode(content[:place])
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((TornError, ForeignError)):
        decode(bytes(changed))
    with pytest.raises(TornError):
        decode(content + b"x")


@given(st.binary())
def test_other_bytes_are_no_manifest(content):
    with pytest.raises((TornError, ForeignError)):
        decode(content)


def test_a_newer_format_says_so():
    with pytest.raises(ForeignError, match=r"format 2.*open it with the version that saved it"):
        decode(b"PRISM INDEX 2 00000000 0\n")
    body = b'{"unknown": 1}'
    with pytest.raises(ForeignError, match="does not say what it must"):
        decode(b"PRISM INDEX 1 %08x %d\n%s" % (zlib.crc32(body), len(body), body))


dtypes = st.sampled_from(["u1", "i1", "<i2", "<f4", "<i8", "<f8"])
shapes = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)
arrays = st.builds(
    lambda dtype, shape, seed: (
        np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)[::-1]
    ),
    dtypes,
    shapes,
    st.integers(0, 1000),
)
parts = st.lists(st.tuples(counts, st.dictionaries(st.text(), arrays, max_size=4)), max_size=4)


def written(given_parts) -> tuple[bytes, int]:
    layout = Layout()
    content = layout.head()
    for rows, named in given_parts:
        for some in layout.part(rows, named):
            content += bytes(some)
    content += layout.tail()
    assert layout.size == len(content)
    return content, layout.crc


@given(parts)
def test_arrays_are_read_back_where_they_can_be_mapped(given_parts):
    content, crc = written(given_parts)
    memory = memoryview(bytearray(content))
    found = read_index(memory, crc)
    assert [part.rows for part in found] == [rows for rows, _ in given_parts]
    for part, (_, named) in zip(found, given_parts, strict=True):
        assert list(part.sections) == list(named)
        for name, section in part.sections.items():
            assert section.offset % 64 == 0
            array = read_section(memory, section, verify=True)
            np.testing.assert_array_equal(array, named[name])
            assert array.dtype == named[name].dtype
            assert array.flags.writeable


@given(parts, st.data())
def test_a_segment_that_is_cut_off_or_changed_is_refused(given_parts, data):
    content, crc = written(given_parts)
    with pytest.raises(MalformedError):
        read_index(memoryview(content[: data.draw(st.integers(0, len(content) - 1))]), crc)
    with pytest.raises(MalformedError):
        read_index(memoryview(content), crc ^ 1)
    changed = bytearray(content)
    place = data.draw(st.integers(0, len(content) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    padding = set(range(64, len(content)))
    try:
        for part in read_index(memoryview(changed), crc):
            for section in part.sections.values():
                array = read_section(memoryview(changed), section, verify=True)
                padding -= set(range(section.offset, section.offset + array.nbytes))
    except MalformedError:
        return
    assert place in padding
