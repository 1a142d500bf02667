"""A redis-server that connects hosts: it is killed, held up, and started again with its data."""

import os
import signal
import subprocess


class Redis:
    """A server on a Unix socket that has on its disk whatever it has confirmed."""

    def __init__(self, folder):
        self.path, self._folder = folder / "redis.sock", folder
        self.start()

    def start(self):
        """Start it; return when it serves."""
        words = ["redis-server", "--port", "0", "--unixsocket", self.path, "--dir", self._folder]
        words += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        for line in self._process.stdout:
            if b"ready to accept connections" in line.lower():
                return
        raise AssertionError("redis-server has ended")

    def signal(self, number):
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def kill(self):
        """Kill it; return when it has ended."""
        self.signal(signal.SIGKILL)
        self._process.communicate()
