"""Echo with an asyncio protocol on uvloop."""

from __future__ import annotations

import uvloop

from bench.peers.asyncio_protocol import main

if __name__ == "__main__":
    uvloop.run(main())
