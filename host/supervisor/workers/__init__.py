"""What the supervisor knows of its workers, and decides about them."""
