"""Workers: a supervisor a machine makes true what is placed on it; an instance a process serves one variant."""
