#!/usr/bin/env python3
"""Writes shapes.txt, the table that the Rust tests read: one model a line, `name key=value …`.   usage: shapes_txt.py > shapes.txt"""
import shapes, holdout      # (holdout adds its models; both need the gguf package)
for name, model in shapes.MODELS.items(): print(name, *(f"{key}={value}" for key, value in model.items()))
