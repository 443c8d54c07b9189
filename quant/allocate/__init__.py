"""Formats for a budget: what precision costs, what it loses, and the best trade between them."""
