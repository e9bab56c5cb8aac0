"""Benchmarks: modelfetch and its peers, in interleaved rounds on one machine."""
