"""`make torture`: strange input and faults against what meets them. The kinds of cases are modules here, the command is __main__."""
