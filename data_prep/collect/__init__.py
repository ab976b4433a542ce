"""Collection of the sources from where they are published: raw answers, each with address, date and hash."""
