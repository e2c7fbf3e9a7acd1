"""The bank: a frozen teacher's logits for whole views, computed once and read by all who are taught later."""
