"""Operations on workspaces: create, clone, list, reset, restart after a crash, import."""
