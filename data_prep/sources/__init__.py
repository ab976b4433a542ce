"""The corpus's 23 sources: what each states of itself, and readers of the formats that they are published in."""
