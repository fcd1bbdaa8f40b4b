"""The commands plan and status."""
