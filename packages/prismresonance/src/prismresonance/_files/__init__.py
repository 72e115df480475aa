"""A saved index: a folder of files that never change, and one manifest that names them."""
