"""Publishing: a corpus as a data set that the Hugging Face Hub shows and loads."""
