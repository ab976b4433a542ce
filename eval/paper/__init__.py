"""The paper's tables and claims, computed again."""
