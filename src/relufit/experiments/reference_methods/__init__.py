"""Methods of the references: Kaczmarz steps and GLM-tron, and the mean of the weights under label noise."""
