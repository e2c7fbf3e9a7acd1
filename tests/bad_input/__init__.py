"""What a clumsy or malicious user may give to every entry point, as tables of cases by kind."""
