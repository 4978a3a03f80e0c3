"""The clauses, a module per subject; importing a module registers its clauses."""
