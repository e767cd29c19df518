"""More ranks: how the iterations of QSGD depend on their number, with a given mini-batch or a given batch of a rank."""
