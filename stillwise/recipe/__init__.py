"""Recipes: their schema, loading with every fault, planning without running, and running."""
