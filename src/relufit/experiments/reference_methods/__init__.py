"""Methods of the references: Kaczmarz steps, GLM-tron, delays, and the mean of the weights under label noise."""
