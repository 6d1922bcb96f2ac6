"""Operations on a whole workshop: rehearsal, idle seats, release, collecting and removing work."""
