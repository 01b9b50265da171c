"""Fetch what each account did today from a bank, keep it raw, and book it once."""
