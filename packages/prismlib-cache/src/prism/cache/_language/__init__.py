"""What the guards know of English: words, quantities, denials, opposites, order. All pure.

`wording` folds a question to tokens, `words` takes it apart with the help of `stems`, `quantities`
and `negation`; `antonyms`, `closed_classes` and `order` compare two of them. `lexicon`, `measures`
and `places` are data.
"""
