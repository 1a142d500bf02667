"""The bus over several hosts: the process with the one connection to a broker."""
