"""The parts of the chat: text, users, rooms, and what the workers tell each other."""
