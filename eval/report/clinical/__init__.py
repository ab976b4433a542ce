"""The parts of a page on tasks from clinical documents."""
