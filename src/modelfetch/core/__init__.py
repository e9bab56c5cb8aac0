"""Decisions: pure, synchronous, total. No asyncio, no files, no clock, no randomness."""
