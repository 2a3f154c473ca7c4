"""The project's documents, and the generator of the reference pages."""
