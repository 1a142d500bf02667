"""Pools: work that is done off the loop, in processes or threads of one worker."""
