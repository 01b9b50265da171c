"""Measurements: one file a question. Figures are ratios or medians within one run, since machines differ and are shared."""
