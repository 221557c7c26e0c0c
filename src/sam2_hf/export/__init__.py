"""The model as files for other runtimes: four parts, ONNX or `torch.export`, and a manifest that puts them together."""
