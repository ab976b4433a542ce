"""The passes over a source that make its documents: in one piece, or in parts that are tasks."""
