"""What one, ten and a hundred machines carry: costs that were measured, and arithmetic."""
