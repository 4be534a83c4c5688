"""Adapters of PEFT, and the readout of a model that has one."""
