"""Figures: side by side with other tools, and many seeded validations. Not part of the package."""
