"""The comparison: what an order costs here, and with what people use instead."""
