"""The plan of a recipe with the site it may run at: `pdapt plan`, and the documents' tables."""
