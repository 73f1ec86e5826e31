"""PostgreSQL: backup, archive, recovery window, restore, and the proof that it comes back."""
