"""TensorBoard's tab "Garden": the pictures of inspections, chosen by run, image, method, layer and unit."""
