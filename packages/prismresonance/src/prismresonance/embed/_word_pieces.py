"""BERT's way of cutting a text into word pieces, as all-MiniLM-L6-v2 was trained on.

Source: J. Devlin et al., BERT, 2018, and google-research/bert `tokenization.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prismresonance.embed._model_file import verified_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FRAME", "MAX_WORD_PIECES", "WordPieceTokenizer"]

MAX_WORD_PIECES = 256
"""Pieces the model reads of a text, `[CLS]` and `[SEP]` included; what follows has no effect.

`max_seq_length` of the published all-MiniLM-L6-v2 (`sentence_bert_config.json`): about 190 English
words. The model could read 512, but was trained on short texts and gives other vectors then.
"""

FRAME = 2
"""Pieces that stand around every text: `[CLS]` and `[SEP]`."""

_VOCABULARY = Path(__file__).with_name("vocabulary") / "bert-uncased.txt"
_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# A longer word is unknown as a whole.
_LONGEST_WORD = 100

# A megabyte need not be read to know its first 256 pieces; in English they are 1,200 characters.
_ENOUGH_CHARS = 16_384


class WordPieceTokenizer:
    """Turns a text into the numbers of its word pieces. Safe to use from several threads."""

    def __init__(self) -> None:
        self._tokenizer = _build()
        self._unknown = self._tokenizer.token_to_id("[UNK]")

    def ids(self, text: str) -> list[int]:
        """Return the numbers of the pieces of `text`, `[CLS]` first and `[SEP]` last.

        Between 2 (an empty text) and `MAX_WORD_PIECES`. Cost: O(characters), of which a long text's
        end is not looked at once its beginning fills the model.
        """
        if len(text) > _ENOUGH_CHARS:
            # A space ends a word whatever follows it, so the pieces before one are final.
            beginning, space, _ = text[:_ENOUGH_CHARS].rpartition(" ")
            ids = self._tokenizer.encode(beginning).ids if space else []
            if len(ids) == MAX_WORD_PIECES:
                return ids
        return self._tokenizer.encode(text).ids

    def reads(self, text: str) -> bool:
        """Whether `ids` rests on all of `text`: nothing cut off and no unknown piece.

        Cost: that of `ids`; well under a microsecond for a question in ASCII. Every such sign is in
        the vocabulary by itself, inside a word and at its beginning, so a text that is no longer
        than a word may be has no unknown piece, and not more pieces than signs. A bracket may
        spell the unknown piece's own name.
        """
        if len(text) <= _LONGEST_WORD and text.isascii() and "[" not in text:
            return True
        ids = self.ids(text)
        return len(ids) < MAX_WORD_PIECES and self._unknown not in ids


def _build() -> Tokenizer:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    pieces = verified_bytes(_VOCABULARY, sha256=_VOCABULARY_SHA256).decode().splitlines()
    numbers = {piece: number for number, piece in enumerate(pieces)}
    unknown = "[UNK]"
    tokenizer = Tokenizer(
        WordPiece(numbers, unk_token=unknown, max_input_chars_per_word=_LONGEST_WORD)
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(piece, numbers[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.enable_truncation(MAX_WORD_PIECES)
    return tokenizer
