"""Networks as programs of other software, and sessions of it that run them: torch.export, onnxruntime, OpenVINO."""
