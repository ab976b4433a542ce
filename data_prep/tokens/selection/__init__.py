"""The pass before tokenizing: which documents are read, and which side and data set each goes to."""
