"""lrtheory: a JAX laboratory for the regularisation effect of an initially large learning rate."""
