"""When updates run: schedules, background inverses, a ready-made optimizer."""
