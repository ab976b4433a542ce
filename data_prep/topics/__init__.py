"""Medical specialities of documents: seeded terms counted, or labels that a file gives."""
