"""Offer hostile messages to the receiving side of chorus_fabric: none may be accepted or crash it.

    hatch run fuzz-frames --frames 1000000

Each message is made from genuine ones that the receiver has accepted or is about to: cut off, made
longer, with bits flipped, with one number of the header changed, replayed, before its turn, with
the body of another, for another tenant, from another sender, another direction, another lane, or
under keys that are gone. Some are made by one who holds the keys, and are right in everything but
their content: numbers that are not finite, columns that contradict themselves, texts that are none.

Between them the genuine messages are opened, and must give what was sent: a refused message must
leave no trace. The same seed offers the same messages. Exit code 1 if one was accepted, raised
anything but a `FrameError`, or disturbed a genuine one, or if memory grew by over 64 MB.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import random
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from chorus_fabric import (
    BytesColumn,
    Frame,
    FrameError,
    FrameKind,
    Initiator,
    Responder,
    Session,
    SessionOpener,
    SessionSealer,
    TextColumn,
)
from chorus_fabric._codec import HEADER_BYTES, TAG_BYTES, WATERMARK_BYTES, read_header

SECRET = b"held by all nodes of a tenant"
# Where each number of the header lies, and how it is packed.
FIELDS = {
    "magic": (0, "<I"), "version": (4, "<B"), "kind": (5, "<B"), "transport": (6, "<B"),
    "flags": (7, "<B"), "tenant": (8, "<Q"), "sender": (24, "<Q"), "key_epoch": (40, "<I"),
    "stream": (44, "<I"), "counter": (48, "<Q"), "epoch": (56, "<Q"), "seq": (64, "<Q"),
    "rows": (72, "<I"), "dims": (76, "<H"), "dtype": (78, "<B"), "columns": (79, "<B"),
    "ids_bytes": (80, "<I"), "texts_bytes": (84, "<I"), "metadata_bytes": (88, "<I"),
    "zero": (92, "<I"),
}  # fmt: skip
WORDS = ("", "a", "Widget", "Grüße", "価格", "🙂", "x" * 40)
MOST_GROWTH_BYTES = 64 << 20


@dataclass
class Tally:
    """What was offered and what became of it.

    Attributes:
        offered: Messages by the way they were made.
        refused: Refusals by their error.
        accepted: Ways by which a hostile message was accepted.
        crashed: Errors that are no `FrameError`.
        disturbed: Genuine messages that were refused or read wrongly.
        genuine: Genuine messages that were opened.
    """

    offered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)
    genuine: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything was refused that should be, and nothing else."""
        return not (self.accepted or self.crashed or self.disturbed)


class Scene:
    """A session with its recorded traffic, and another tenant's beside it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.is_sealed = chance.random() < 0.6
        self.is_ordered = chance.random() < 0.6
        self.sender, self.receiver = self._pair("acme")
        self.strangers = (self._pair("acme"), self._pair("globex"))
        self.accepted: list[bytes] = []
        self.gone: list[bytes] = []
        self.now = 0.0

    def _pair(self, tenant_id: str) -> tuple[Session, Session]:
        secret = SECRET if self.is_sealed else None
        rng = self.chance.randbytes
        first = Initiator(tenant_id=tenant_id, sender="driver", secret=secret, rng=rng)
        second = Responder(tenant_id=tenant_id, sender="wrapper", secret=secret, rng=rng)
        reply, session = second.answer(first.hello(), now=0.0)
        return session, first.finish(reply, now=0.0)

    def sealer(self, session: Session) -> SessionSealer:
        """Give the lane that the scene plays on."""
        return session.sealer if self.is_ordered else session.unordered_sealer

    @property
    def opener(self) -> SessionOpener:
        """Who the hostile messages are offered to."""
        return self.receiver.opener if self.is_ordered else self.receiver.unordered_opener

    def frame(self, tenant_id: str = "acme", sender: str = "wrapper") -> Frame:
        """Make a frame with some of its columns."""
        chance = self.chance
        rows, dims = chance.choice((0, 1, 2, 7)), chance.choice((0, 1, 8, 70))
        texts = [chance.choice(WORDS) for _ in range(rows)]
        numbers = np.frombuffer(chance.randbytes(rows * dims), np.int8).astype(np.float32)
        return Frame(
            kind=chance.choice(list(FrameKind)),
            tenant_id=tenant_id,
            sender=sender,
            stream=chance.randrange(1 << 32),
            epoch=chance.randrange(1 << 64),
            seq=chance.randrange(1 << 64),
            flags=chance.randrange(256),
            vectors=numbers.reshape(rows, dims),
            ids=TextColumn.from_strings([f"{place}" for place in range(rows)]),
            texts=TextColumn.from_strings(texts if chance.random() < 0.7 else []),
            metadata=BytesColumn.from_items([chance.randbytes(9)] * rows),
            seqs=np.arange(rows if chance.random() < 0.7 else 0, dtype=np.uint64),
        )

    def renew(self) -> None:
        """Renew the keys, and let those before die."""
        # One that does not arrive before its keys are gone; in an ordered stream all do.
        late = [] if self.is_ordered else [self.sealer(self.sender).seal(self.frame())]
        renewal = self.receiver.renew(rng=self.chance.randbytes)
        self.now += 100.0
        hello = renewal.hello()
        reply = self.sender.answer(hello, now=self.now, rng=self.chance.randbytes)
        renewal.finish(reply, now=self.now)
        self.now += 61.0
        self.receiver.retire(self.now)
        self.gone, self.accepted = (self.gone + self.accepted[-9:] + late)[-30:], []


def truncated(scene: Scene, message: bytes) -> bytes:
    """Cut the end off."""
    return message[: scene.chance.randrange(len(message))]


def extended(scene: Scene, message: bytes) -> bytes:
    """Add bytes."""
    return message + scene.chance.randbytes(scene.chance.randint(1, 64))


def flipped(scene: Scene, message: bytes) -> bytes:
    """Flip a few bits, each once."""
    changed = bytearray(message)
    for bit in scene.chance.sample(range(8 * len(message)), scene.chance.randint(1, 3)):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def renumbered(scene: Scene, message: bytes) -> bytes:
    """Change one number of the header, often to one at the limits."""
    name = scene.chance.choice(list(FIELDS))
    offset, code = FIELDS[name]
    (number,) = struct.unpack_from(code, message, offset)
    most = (1 << 8 * struct.calcsize(code)) - 1
    choices = (0, 1, most, most // 2, number + 1, number - 1, scene.chance.randint(0, most))
    other = scene.chance.choice([n for n in choices if n != number and 0 <= n <= most])
    changed = bytearray(message)
    struct.pack_into(code, changed, offset, other)
    return bytes(changed)


def noise(scene: Scene, message: bytes) -> bytes:
    """Bytes without meaning, at times behind the genuine header."""
    rest = scene.chance.randbytes(scene.chance.randrange(400))
    return scene.chance.choice((rest, message[:HEADER_BYTES] + rest, b"CHFR\x01" + rest))


def replayed(scene: Scene, _: bytes) -> bytes | None:
    """Repeat one that was accepted."""
    return scene.chance.choice(scene.accepted) if scene.accepted else None


def gone(scene: Scene, _: bytes) -> bytes | None:
    """Repeat one of keys that are gone."""
    return scene.chance.choice(scene.gone) if scene.gone else None


def spliced(scene: Scene, message: bytes) -> bytes | None:
    """Put the body of one that was accepted behind this header, or the other way round."""
    if not scene.accepted:
        return None
    other = scene.chance.choice(scene.accepted)
    pair = (message, other) if scene.chance.random() < 0.5 else (other, message)
    return pair[0][:HEADER_BYTES] + pair[1][HEADER_BYTES:]


def strange(scene: Scene, message: bytes) -> bytes:
    """Make one in another session, of this tenant or another, at times with this one's names."""
    session, _ = scene.chance.choice(scene.strangers)
    frame = scene.frame(tenant_id=session.tenant_id)
    made = scene.sealer(session).seal(frame)
    if scene.chance.random() < 0.5:
        return made
    return made[:8] + message[8:44] + made[44:48] + message[48:56] + made[56:]


def reflected(scene: Scene, message: bytes) -> bytes:
    """Send back what the receiver itself has sent."""
    made = scene.sealer(scene.receiver).seal(scene.frame(sender="driver"))
    return made[:24] + message[24:56] + made[56:]


def other_lane(scene: Scene, message: bytes) -> bytes:
    """Carry a message over from the other kind of delivery."""
    session = scene.sender
    sealer = session.unordered_sealer if scene.is_ordered else session.sealer
    made = sealer.seal(scene.frame())
    if scene.chance.random() < 0.5:
        return made
    return made[:6] + message[6:7] + made[7:48] + message[48:56] + made[56:]


def unsealed(scene: Scene, message: bytes) -> bytes | None:
    """Offer a sealed message as one that is not, without its tag."""
    if not scene.is_sealed:
        return None
    return message[:6] + bytes([message[6] & ~1]) + message[7:-TAG_BYTES]


def corrupted(scene: Scene, message: bytes) -> bytes:
    """Make, with the right keys, a message whose content is wrong in one way."""
    sealer = scene.sealer(scene.sender)
    header = read_header(memoryview(message), max_bytes=1 << 24)
    if scene.chance.random() < 0.3:
        rows, dims, body = unsound_vectors(scene, sealer)
        sizes = {"columns": 0, "ids_bytes": 0, "metadata_bytes": 0}
    else:
        rows, dims = scene.chance.randint(2, 5), 0
        name, body = scene.chance.choice(unsound_columns(scene.chance, rows))
        sizes = {
            "columns": 2 if name == "ids" else 8,
            "ids_bytes": len(body) - 4 * rows if name == "ids" else 0,
            "metadata_bytes": len(body) - 4 * rows if name == "metadata" else 0,
        }
    false = dataclasses.replace(
        header,
        rows=rows,
        dims=dims,
        columns=sizes["columns"],
        ids_bytes=sizes["ids_bytes"],
        texts_bytes=0,
        metadata_bytes=sizes["metadata_bytes"],
    )
    return forge(scene, false.pack(), body, header.counter)


def unsound_vectors(scene: Scene, sealer: SessionSealer) -> tuple[int, int, bytes]:
    """Make vectors that are not finite, or are no more so once they are rotated back."""
    rows, dims = scene.chance.randint(1, 3), scene.chance.choice((1, 8, 70))
    numbers = np.full((rows, dims), 3e38, np.float32)
    # Those may stay finite, by chance; then one of them is made not to be.
    if np.isfinite(sealer._keys.cipher.restore(numbers)).all():
        place = scene.chance.randrange(rows), scene.chance.randrange(dims)
        numbers[place] = scene.chance.choice((np.nan, np.inf, -np.inf))
    return rows, dims, numbers.tobytes()


def unsound_columns(chance: random.Random, rows: int) -> list[tuple[str, bytes]]:
    """Make columns that contradict themselves: ends, then a blob."""
    ends = struct.Struct(f"<{rows}I")
    size = 4 * rows
    falling = sorted((chance.randrange(size) for _ in range(rows)), reverse=True)
    letters, char = b"a" * size, "é".encode()
    return [
        ("ids", ends.pack(*[size + 1] * rows) + letters),
        ("ids", ends.pack(*[size - 1] * rows) + letters),
        ("metadata", ends.pack(*[0xFFFFFFFF] * (rows - 1), size) + letters),
        ("metadata", ends.pack(*falling) + letters),
        ("ids", ends.pack(*[size] * rows) + b"\xff" * size),
        ("ids", ends.pack(*[size] * rows) + letters[1:] + char[:1]),
        ("ids", ends.pack(*[1] * (rows - 1), size) + char * (size // 2)),
    ]


def misdeclared(scene: Scene, message: bytes) -> bytes:
    """Make, with the right keys, a message whose header is wrong in one number."""
    sealer = scene.sealer(scene.sender)
    counter = read_header(memoryview(message), max_bytes=1 << 24).counter
    rest = message[HEADER_BYTES:]
    if scene.is_sealed:
        opened = sealer._keys.seal and sealer._keys.seal.open(memoryview(message), counter)
        rest = bytes(opened or b"")
    body, packed = rest[:-WATERMARK_BYTES], bytearray(message[:HEADER_BYTES])
    if scene.chance.random() < 0.2:
        return forge(scene, bytes(packed), body + b"more", counter)
    name, mask = scene.chance.choice(
        (
            ("magic", 1), ("version", 3), ("kind", 64), ("transport", 1), ("transport", 2),
            ("transport", 128), ("tenant", 1), ("sender", 1 << 63), ("key_epoch", 1),
            ("dtype", 8), ("columns", 64), ("zero", 1),
        )
    )  # fmt: skip
    offset, code = FIELDS[name]
    (number,) = struct.unpack_from(code, packed, offset)
    struct.pack_into(code, packed, offset, number ^ mask)
    is_sealed = (name, mask) != ("transport", 1)
    return forge(scene, bytes(packed), body, counter, is_sealed=is_sealed)


def forge(
    scene: Scene, packed: bytes, body: bytes, counter: int, *, is_sealed: bool = True
) -> bytes:
    """Do what the sealer does, for a header and body of one's own."""
    keys = scene.sealer(scene.sender)._keys
    before = scene.opener._before if scene.is_ordered else keys.root
    watermark = keys.watermarker.mark(packed, [body], before)
    if keys.seal is None or not is_sealed:
        return packed + body + watermark
    return keys.seal.close(packed, [body, watermark], counter)


WAYS: tuple[Callable[[Scene, bytes], bytes | None], ...] = (
    truncated, extended, flipped, renumbered, noise, replayed, gone, spliced, strange, reflected,
    other_lane, unsealed, corrupted, misdeclared,
)  # fmt: skip


def offer(scene: Scene, way: str, message: bytes, tally: Tally) -> None:
    """Let the receiver have a hostile message."""
    tally.offered[way] += 1
    try:
        scene.opener.open(message)
    except FrameError as error:
        tally.refused[type(error).__name__] += 1
    except Exception as error:  # noqa: BLE001  anything else is what we look for
        tally.crashed.append(f"{way}: {error!r} on {message.hex()}")
    else:
        tally.accepted.append(f"{way}: {message.hex()}")


def deliver(scene: Scene, frame: Frame, message: bytes, tally: Tally) -> None:
    """Let the receiver have a genuine one."""
    tally.genuine += 1
    try:
        opened = scene.opener.open(message)
    except Exception as error:  # noqa: BLE001  whatever it is, it was ours to open
        tally.disturbed.append(f"{error!r} on {message.hex()}")
        return
    scene.accepted = [*scene.accepted[-50:], message]
    same = (
        (opened.kind, opened.stream, opened.epoch, opened.seq, opened.flags)
        == (frame.kind, frame.stream, frame.epoch, frame.seq, frame.flags)
        and opened.ids == frame.ids
        and opened.texts == frame.texts
        and opened.metadata == frame.metadata
        and np.array_equal(opened.seqs, frame.seqs)
        and np.allclose(opened.vectors.ravel(), frame.vectors.ravel(), rtol=1e-5, atol=1e-3)
    )
    if not same:
        tally.disturbed.append(f"read wrongly: {message.hex()}")


def play(*, frames: int, seed: int, tally: Tally | None = None) -> Iterator[Tally]:
    """Offer that many hostile messages; give the tally after each scene.

    Args:
        frames: How many.
        seed: The same one offers the same messages.
        tally: Where to count on.
    """
    chance = random.Random(seed)  # noqa: S311  it must be repeatable
    tally = tally or Tally()
    while sum(tally.offered.values()) < frames:
        scene = Scene(chance)
        for turn in range(8):
            frame, later = scene.frame(), scene.frame()
            message = scene.sealer(scene.sender).seal(frame)
            for _ in range(24):
                way = chance.choice(WAYS)
                hostile = way(scene, message)
                if hostile is not None:
                    offer(scene, way.__name__, hostile, tally)
            following = scene.sealer(scene.sender).seal(later)
            if scene.is_ordered:
                offer(scene, "reordered", following, tally)
            pair = [(frame, message), (later, following)]
            # On the other lane frames may overtake each other.
            for one, sent in pair if scene.is_ordered else reversed(pair):
                deliver(scene, one, sent, tally)
            if turn % 3 == 2:
                scene.renew()
        yield tally


def digest(tally: Tally) -> str:
    """Name a run by what it did, to compare two of the same seed."""
    told = json.dumps([sorted(tally.offered.items()), sorted(tally.refused.items())])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def peak_bytes() -> int:
    """Give the most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (%(default)s)")
    parser.add_argument("--json", action="store_true", help="tell the tally as JSON")
    options = parser.parse_args()
    console = Console(stderr=True)
    scenes = play(frames=options.frames, seed=options.seed)
    tally = next(scenes)
    before, done = peak_bytes(), sum(tally.offered.values())
    steps = track(range(100), description="hostile messages", console=console)
    for step in steps:
        while done < options.frames * (step + 1) / 100:
            tally = next(scenes, tally)
            done = sum(tally.offered.values())
    growth = peak_bytes() - before
    is_clean = tally.is_clean and growth < MOST_GROWTH_BYTES
    if options.json:
        told = vars(tally) | {
            "growth_bytes": growth, "seed": options.seed, "digest": digest(tally), "clean": is_clean
        }  # fmt: skip
        print(json.dumps(told, indent=2))
        return 0 if is_clean else 1
    table = Table("made by", "offered", title=f"{done:,} hostile, {tally.genuine:,} genuine")
    for way, count in sorted(tally.offered.items()):
        table.add_row(way, f"{count:,}")
    table.add_section()
    for error, count in sorted(tally.refused.items()):
        table.add_row(error, f"{count:,}")
    Console().print(table)
    for what in ("accepted", "crashed", "disturbed"):
        found: list[str] = getattr(tally, what)
        print(f"{what}: {len(found)}")
        for line in found[:5]:
            print("  ", line)
    print(f"memory grew by {growth / 2**20:.1f} MB; run {digest(tally)} of seed {options.seed}")
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
