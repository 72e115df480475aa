"""Each rule of the receiving side is needed: without it the suite finds a message that comes in.

A mutant is the package with one rule taken out of its source. It is loaded beside the real one and
given what tests give the real one: hostile messages, and the known answers.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import chorus_fabric

SOURCE = Path(chorus_fabric.__file__).parent
TESTS = Path(__file__).parent
TOOLS = Path(__file__).parents[4] / "tools"
FRAMES = 4_000

# name: module, what is in it, what stands there instead
MUTANTS = {
    "the header is not associated data": (
        "_seal.py",
        [
            ("        encryptor.authenticate_additional_data(header)\n", ""),
            ("rest, message[:HEADER_BYTES], plain", 'rest, b"", plain'),
        ],
    ),
    "the nonce does not count": ("_seal.py", [("(self._prefix, counter)", "(self._prefix, 0)")]),
    "the watermark is not compared": (
        "_watermark.py",
        [
            (
                "return hmac.compare_digest(self.mark(header, parts, before), watermark)",
                "return True",
            )
        ],
    ),
    "the watermark leaves out the header": (
        "_watermark.py",
        [("        state.update(header)\n", "")],
    ),
    "the watermark leaves out the one before": (
        "_watermark.py",
        [("        state.update(before)\n", "")],
    ),
    "the chain begins anew with new keys": (
        "_sealing.py",
        [("if key_epoch == 0 or not self._is_ordered:", "if True:")],
    ),
    "counters are not looked at": (
        "_sealing.py",
        [("        if refusal is not None:\n            raise refusal\n", "")],
    ),
    "counters are not remembered": (
        "_sealing.py",
        [("        epoch.counters.accept(header.counter)\n", "")],
    ),
    "the tenant is not compared": (
        "_sealing.py",
        [("if header.tenant != self._tenant_hash:", "if False:")],
    ),
    "the sender is not compared": (
        "_sealing.py",
        [("if header.sender != self._sender_hash:", "if False:")],
    ),
    "a frame may come unsealed": (
        "_sealing.py",
        [
            ("if header.transport != self._transport:", "if False:"),
            ("if keys.seal is not None:", "if keys.seal is not None and header.is_sealed:"),
        ],
    ),
    "old keys are never forgotten": (
        "_sealing.py",
        [("            del self._epochs[epoch]\n", "            pass\n")],
    ),
    "both directions have the same keys": ("_keys.py", [('f"{sender} {delivery} "', '"same "')]),
    "numbers need not be finite": (
        "_codec.py",
        [("        if not np.isfinite(vectors).all():\n", "        if False:\n")],
    ),
    "the length is not compared": (
        "_codec.py",
        [("if header.message_bytes != len(message):", "if False:")],
    ),
    "the version is not compared": ("_codec.py", [("if version != _VERSION:", "if False:")]),
    "ends may fall": (
        "_columns.py",
        [("    if not (ends[1:] >= ends[:-1]).all():\n", "    if False:\n")],
    ),
    "ends may lie outside": (
        "_columns.py",
        [("    if int(ends[-1]) != len(blob):\n", "    if False:\n")],
    ),
    "texts need not be UTF-8": (
        "_columns.py",
        [('        return "a text is not UTF-8"\n', '        return ""\n')],
    ),
    "texts may begin within a character": (
        "_columns.py",
        [
            (
                "    if ((first_bytes & _CONTINUATION_MASK) == _CONTINUATION).any():\n",
                "    if False:\n",
            )
        ],
    ),
    "memory is used again while a frame lies in it": (
        "_sealing.py",
        [("is_borrowed=epoch.keys.seal is not None", "is_borrowed=False")],
    ),
    "state moves before the columns are read": (
        "_sealing.py",
        [
            (
                "        frame = decode_body(\n",
                "        epoch.counters.accept(header.counter)\n        frame = decode_body(\n",
            )
        ],
    ),
}
# Rules that another layer covers as well, so that no message shows them: the kept bytes do.
BY_KNOWN_ANSWERS = {
    "the header is not associated data",
    "the nonce does not count",
    "the watermark leaves out the header",
    "the watermark leaves out the one before",
    "both directions have the same keys",
}
# And these by tests of their own, which say what they are for.
BY_SESSION_TESTS = {
    "memory is used again while a frame lies in it": (
        "test_frames_that_were_opened_stay_as_they_are",
        "secret",
    ),
    "the chain begins anew with new keys": (
        "test_frames_before_a_change_of_keys_cannot_be_left_out",
        "secret",
    ),
}


@contextmanager
def mutated(folder: Path, name: str) -> Iterator[None]:
    """Import the mutant in place of the package, and put everything back afterwards."""
    module, changes = MUTANTS[name]
    copy = folder / "chorus_fabric"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / module).read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{module} has {text.count(old)} of {old!r}"
        text = text.replace(old, new)
    (copy / module).write_text(text)
    ours = [key for key in sys.modules if key.split(".")[0] in ("chorus_fabric", "sessions")]
    kept = {key: sys.modules.pop(key) for key in ours}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for key in [k for k in sys.modules if k.split(".")[0] in ("chorus_fabric", "sessions")]:
            del sys.modules[key]
        sys.modules.update(kept)


def fresh(file: Path) -> ModuleType:
    """Load a module again, so that it uses the mutant."""
    spec = importlib.util.spec_from_file_location(f"mutant_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def lets_something_in() -> bool:
    """Whether hostile messages find a hole."""
    fuzz = fresh(TOOLS / "fuzz_frames.py")
    return any(not tally.is_clean for tally in fuzz.play(frames=FRAMES, seed=3))


def gives_other_bytes() -> bool:
    """Whether the known answers differ."""
    answers = fresh(TESTS / "test_known_answers.py")
    try:
        for is_sealed in (True, False):
            answers.test_messages_are_as_spelled_out(is_sealed)
    except Exception:  # noqa: BLE001  whatever it is, it was noticed
        return True
    return False


def fails_its_test(name: str) -> bool:
    """Whether the test that is there for the rule fails."""
    test, argument = BY_SESSION_TESTS[name]
    tests = fresh(TESTS / "test_sessions.py")
    try:
        for secret in (tests.SECRET, None):
            getattr(tests, test)(**({argument: secret} if argument else {}))
    except BaseException:  # noqa: BLE001  pytest's own failures are no exceptions
        return True
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str, tmp_path: Path) -> None:
    with mutated(tmp_path, name):
        assert (
            Path(importlib.import_module("chorus_fabric").__file__ or "").parent.parent == tmp_path
        )
        if name in BY_KNOWN_ANSWERS:
            assert gives_other_bytes()
        elif name in BY_SESSION_TESTS:
            assert fails_its_test(name)
        else:
            assert lets_something_in()


def test_the_real_one_is_not(tmp_path: Path) -> None:
    """Loaded in the same way, the package as it is passes all of it."""
    MUTANTS["none"] = ("_seal.py", [])
    try:
        with mutated(tmp_path, "none"):
            assert not lets_something_in()
            assert not gives_other_bytes()
            assert not any(fails_its_test(name) for name in BY_SESSION_TESTS)
    finally:
        del MUTANTS["none"]
    assert sys.modules["chorus_fabric"] is chorus_fabric
