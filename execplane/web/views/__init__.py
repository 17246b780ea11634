"""The pages: plain synchronous views, one module per subject."""
