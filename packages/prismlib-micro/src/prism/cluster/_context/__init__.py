"""What of a context bears on a question: pure, but for the shelf that remembers chunks."""
