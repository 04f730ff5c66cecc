"""Sanity checks: do explanations depend on what the network learned, and do they hold still where nothing changes?"""
