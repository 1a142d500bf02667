"""Servers that the host is compared with, each as its own documentation teaches to write it."""
