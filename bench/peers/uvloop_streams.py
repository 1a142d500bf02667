"""Echo with asyncio streams on uvloop."""

from __future__ import annotations

import uvloop

from bench.peers.asyncio_streams import main

if __name__ == "__main__":
    uvloop.run(main())
